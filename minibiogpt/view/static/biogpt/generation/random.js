// The uniform numbers of NumPy's default_rng(seed).random(): a SeedSequence seeds a PCG64 generator (O'Neill 2014).

const MASK_64 = (1n << 64n) - 1n, MASK_128 = (1n << 128n) - 1n;
const PCG_MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const POOL_SIZE = 4;

/** Uniform numbers in [0, 1). The seed is an integer, 0 or more: a number, a BigInt, or its decimal digits. */
export class UniformNumbers {
  constructor(seed) {
    const words = seedWords(BigInt(seed), 8);
    const [high, low, incrementHigh, incrementLow] = [0, 2, 4, 6].map((i) => BigInt(words[i]) | (BigInt(words[i + 1]) << 32n));
    this.increment = (((incrementHigh << 65n) | (incrementLow << 1n)) & MASK_128) | 1n;
    this.state = this.increment;
    this.state = (this.state + ((high << 64n) | low)) & MASK_128;
    this.step();
  }

  step() {
    this.state = (this.state * PCG_MULTIPLIER + this.increment) & MASK_128;
  }

  /** The next number: the upper 53 of 64 bits. They are the halves of the state, XORed and rotated by its top six bits. */
  next() {
    this.step();
    const halves = (this.state >> 64n) ^ (this.state & MASK_64), rotation = this.state >> 122n;
    const bits = (halves >> rotation) | ((halves << (64n - rotation)) & MASK_64);
    return Number(bits >> 11n) * 2 ** -53;
  }
}

/** `count` words of 32 bits from a seed of any size, as numpy.random.SeedSequence(seed).generate_state(count). */
export function seedWords(seed, count) {
  if (seed < 0n) throw new RangeError(`a seed must be an integer, 0 or more; found ${seed}`);
  const entropy = [];
  for (let rest = seed; rest > 0n || !entropy.length; rest >>= 32n) entropy.push(Number(rest & 0xffffffffn));
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL_SIZE }, (_, i) => hash(entropy[i] ?? 0));
  for (let from = 0; from < POOL_SIZE; from++) {
    for (let to = 0; to < POOL_SIZE; to++) if (from !== to) pool[to] = mixWords(pool[to], hash(pool[from]));
  }
  for (const word of entropy.slice(POOL_SIZE)) for (let to = 0; to < POOL_SIZE; to++) pool[to] = mixWords(pool[to], hash(word));
  const finish = hasher(0x8b51f9dd, 0x58f38ded);
  return Array.from({ length: count }, (_, i) => finish(pool[i % POOL_SIZE]));
}

/** A hash of words whose constant changes with each. */
function hasher(constant, multiplier) {
  return (word) => {
    word ^= constant;
    constant = Math.imul(constant, multiplier);
    word = Math.imul(word, constant);
    return (word ^ (word >>> 16)) >>> 0;
  };
}

function mixWords(x, y) {
  const mixed = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
