// CUDA kernels for weights of 4 and 8 bits: backend/products/packed_kernels.py. Compiled together with kernels.cu,
// whose types and functions they use.
//
// Each code has a number: a code of 4 bits is the index of one of 16 numbers, a code of 8 bits is an integer. A value of
// the weight is this number times the scale of its block of codes, and of 8 bits times a unit. For every T it is computed
// in float, as on NumPy: __fmul_rn and __fadd_rn round each operation.

typedef unsigned char Byte;
typedef signed char Integer;

const int EIGHT = 8;  // codes per load

// Code i. Of two codes of 4 bits in a byte, the first is in the high half.
template <int BITS>
__device__ int code_at(const Byte* codes, Int i) {
    if (BITS == 8) return (Integer)codes[i];
    return i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
}

// Eight codes of BITS bits, which are BITS bytes.
template <int BITS>
struct alignas(BITS) Codes {
    Byte x[BITS];
};

struct Weight {
    const Byte* codes;
    const float* numbers;  // of codes of 4 bits
    const float* scales;  // of each block, or of each group of blocks if there are places
    const __half* halves;  // the same in float16, instead
    const Byte* places;  // of each block: which of `map` its scale is a multiple of
    const float* map;
    int block, group;  // binary logarithms of the sizes; block -1: a row
    float offset, unit;

    __device__ float scale(Int row, Int index) const {
        Int b = block < 0 ? row : index >> block;
        if (places != nullptr) return __fadd_rn(__fmul_rn(map[places[b]], scales[b >> group]), offset);
        return halves != nullptr ? (float)halves[b] : scales[b];
    }
    template <int BITS>
    __device__ float value(int code, float scale) const {
        return BITS == 4 ? __fmul_rn(numbers[code], scale) : __fmul_rn(__fmul_rn(code, scale), unit);
    }
    // The value of one element; `index` counts the elements of all rows.
    template <int BITS>
    __device__ float at(Int row, Int index) const {
        return value<BITS>(code_at<BITS>(codes, index), scale(row, index));
    }
};

// The 16 numbers in shared memory. They are in 16 different banks, so threads of a warp never wait for each other.
// Every thread of the block must call it.
__device__ const float* shared_numbers(const float* numbers) {
    __shared__ float table[16];
    if (numbers != nullptr && threadIdx.x < 16) table[threadIdx.x] = numbers[threadIdx.x];
    __syncthreads();
    return table;
}

// y (M, N) = x (M, K) times weight (N, K) transposed, plus bias (N), which may be null. As `product` in kernels.cu: a
// warp computes one column of y for up to ROWS rows, and unpacks the column's codes once, eight at a time if `packed`:
// K is a multiple of 8, x is aligned to packs, and codes to eights.
template <int BITS, int ROWS>
__device__ void packed_product(
    const T* x, const Weight& weight, const T* bias, T* y, Int M, Int N, Int K, Int start, Int packed
) {
    Int groups = (M + ROWS - 1) / ROWS, lane = threadIdx.x % 32;
    Int first = blockIdx.x % groups * ROWS;
    Int column = blockIdx.x / groups * (blockDim.x / 32) + threadIdx.x / 32, row = start + column;
    if (column >= N) return;  // the whole warp
    Int rows = M - first < ROWS ? M - first : ROWS;
    x += first * K;
    A sums[ROWS] = {};
    if (packed) {
        for (Int k = lane * EIGHT; k < K; k += 32 * EIGHT) {
            Int index = row * K + k;
            Codes<BITS> codes = *(const Codes<BITS>*)(weight.codes + index * BITS / 8);
            float scale = weight.scale(row, index);  // of all eight: blocks are multiples of 8
            float values[EIGHT];
            #pragma unroll
            for (int i = 0; i < EIGHT; ++i) values[i] = weight.value<BITS>(code_at<BITS>(codes.x, i), scale);
            #pragma unroll
            for (int m = 0; m < ROWS; ++m) {
                if (m >= rows) break;
                #pragma unroll
                for (int i = 0; i < EIGHT; i += PACK) {
                    Pack given = *(const Pack*)(x + m * K + k + i);
                    for (int j = 0; j < PACK; ++j) sums[m] += wide(given.x[j]) * (A)values[i + j];
                }
            }
        }
    } else {
        for (Int k = lane; k < K; k += 32) {
            A value = weight.at<BITS>(row, row * K + k);
            #pragma unroll
            for (int m = 0; m < ROWS; ++m) {
                if (m >= rows) break;
                sums[m] += wide(x[m * K + k]) * value;
            }
        }
    }
    #pragma unroll
    for (int m = 0; m < ROWS; ++m) {
        if (m >= rows) break;
        A sum = warp_sum(sums[m]);
        if (lane == 0) y[(first + m) * N + column] = narrow(bias == nullptr ? sum : sum + wide(bias[column]));
    }
}

// Of 4 bits if there are numbers. `start`: the row of the arrays that is the weight's first.
extern "C" __global__ void packed_product_1(
    const T* x, const Byte* fours, const Integer* eights, const float* numbers, const float* scales,
    const __half* halves, const Byte* places, const float* map, const T* bias, T* y, Int block, Int group,
    double offset, double unit, Int M, Int N, Int K, Int start, Int packed
) {
    const Byte* codes = fours != nullptr ? fours : (const Byte*)eights;
    numbers = shared_numbers(numbers);
    Weight weight = {codes, numbers, scales, halves, places, map, (int)block, (int)group, (float)offset, (float)unit};
    if (fours != nullptr) packed_product<4, 1>(x, weight, bias, y, M, N, K, start, packed);
    else packed_product<8, 1>(x, weight, bias, y, M, N, K, start, packed);
}

extern "C" __global__ void packed_product_8(
    const T* x, const Byte* fours, const Integer* eights, const float* numbers, const float* scales,
    const __half* halves, const Byte* places, const float* map, const T* bias, T* y, Int block, Int group,
    double offset, double unit, Int M, Int N, Int K, Int start, Int packed
) {
    const Byte* codes = fours != nullptr ? fours : (const Byte*)eights;
    numbers = shared_numbers(numbers);
    Weight weight = {codes, numbers, scales, halves, places, map, (int)block, (int)group, (float)offset, (float)unit};
    if (fours != nullptr) packed_product<4, 8>(x, weight, bias, y, M, N, K, start, packed);
    else packed_product<8, 8>(x, weight, bias, y, M, N, K, start, packed);
}

// y (N, K) = the values from row `start` on; one thread per element.
extern "C" __global__ void unpack(
    const Byte* fours, const Integer* eights, const float* numbers, const float* scales, const __half* halves,
    const Byte* places, const float* map, T* y, Int block, Int group, double offset, double unit, Int N,
    Int K, Int start
) {
    const Byte* codes = fours != nullptr ? fours : (const Byte*)eights;
    numbers = shared_numbers(numbers);
    Weight weight = {codes, numbers, scales, halves, places, map, (int)block, (int)group, (float)offset, (float)unit};
    Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= N * K) return;
    Int row = start + i / K, index = start * K + i;
    y[i] = narrow(fours != nullptr ? weight.at<4>(row, index) : weight.at<8>(row, index));
}

// y[k] = 1 if a number of at least `threshold` is in column k of x (M, K), else 0; one thread per column.
extern "C" __global__ void find_outliers(const T* x, Byte* y, Int M, Int K, double threshold) {
    Int k = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= K) return;
    Byte found = 0;
    for (Int m = 0; m < M; ++m) found |= fabsf((float)wide(x[m * K + k])) >= (float)threshold;
    y[k] = found;
}

// codes (M, K) = x / scale, rounded to integers from -127 to 127, where scale (M) is a row's largest absolute value
// times `unit`, 1 / 127; one block per row. If `outliers` is not null, numbers of at least `threshold` do not count for
// the largest one, and the columns of outliers are 0. quantization.weights.QuantizedRows.
extern "C" __global__ void quantize_rows(
    const T* x, const Byte* outliers, Integer* codes, float* scales, Int K, double threshold, double unit
) {
    x += blockIdx.x * K;
    codes += blockIdx.x * K;
    A largest = 0;
    for (Int k = threadIdx.x; k < K; k += blockDim.x) {
        float size = fabsf((float)wide(x[k]));
        if (outliers == nullptr || !(size >= (float)threshold)) largest = larger(size, largest);
    }
    float absmax = block_max(largest);
    float steps = __fmul_rn(127, 1 / absmax);  // the reciprocal is rounded first, as on NumPy
    if (!(steps <= 3.4028235e38f)) steps = 0;  // absmax is 0, tiny, or NaN
    for (Int k = threadIdx.x; k < K; k += blockDim.x) {
        bool outlier = outliers != nullptr && outliers[k];
        codes[k] = outlier ? 0 : (Integer)(int)rintf(__fmul_rn((float)wide(x[k]), steps));
    }
    if (threadIdx.x == 0) scales[blockIdx.x] = __fmul_rn(absmax, (float)unit);
}

__device__ int warp_sum(int x) {
    for (int apart = 16; apart; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
    return x;
}

struct alignas(EIGHT) Eight {
    int x[2];
};

// y (M, N) = rows (M, K) times weight (N, K) transposed, both of integers, summed exactly, times the scales of both, plus
// x (M, K) times weight in the columns of outliers (may be null), plus bias (N) (may be null). Warps, rows and columns
// as in `packed_product`; `packed`: K is a multiple of 8, and rows, weight and outliers are aligned to eights.
template <int ROWS>
__device__ void integer_product(
    const Integer* rows, const float* row_scales, const Integer* weight, const float* scales, float unit, const T* x,
    const Byte* outliers, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    Int groups = (M + ROWS - 1) / ROWS, lane = threadIdx.x % 32;
    Int first = blockIdx.x % groups * ROWS;
    Int column = blockIdx.x / groups * (blockDim.x / 32) + threadIdx.x / 32;
    if (column >= N) return;  // the whole warp
    Int count = M - first < ROWS ? M - first : ROWS;
    rows += first * K;
    x += first * K;
    weight += column * K;
    float scale = __fmul_rn(scales[column], unit);
    int sums[ROWS] = {};
    A floats[ROWS] = {};
    for (Int k = lane * EIGHT; packed && k < K; k += 32 * EIGHT) {
        Eight w = *(const Eight*)(weight + k);
        #pragma unroll
        for (int m = 0; m < ROWS; ++m) {
            if (m >= count) break;
            Eight given = *(const Eight*)(rows + m * K + k);
            sums[m] = __dp4a(given.x[1], w.x[1], __dp4a(given.x[0], w.x[0], sums[m]));
        }
    }
    for (Int k = lane; !packed && k < K; k += 32) {
        #pragma unroll
        for (int m = 0; m < ROWS; ++m) {
            if (m >= count) break;
            sums[m] += (int)rows[m * K + k] * weight[k];
        }
    }
    for (Int k = lane; outliers != nullptr && k < K; k += 32) {
        if (!outliers[k]) continue;
        A value = __fmul_rn(weight[k], scale);
        #pragma unroll
        for (int m = 0; m < ROWS; ++m) {
            if (m >= count) break;
            floats[m] += (A)(float)wide(x[m * K + k]) * value;
        }
    }
    #pragma unroll
    for (int m = 0; m < ROWS; ++m) {
        if (m >= count) break;
        A sum = (A)warp_sum(sums[m]) * (A)__fmul_rn(row_scales[first + m], scale);
        if (outliers != nullptr) sum += warp_sum(floats[m]);
        if (lane == 0) y[(first + m) * N + column] = narrow(bias == nullptr ? sum : sum + wide(bias[column]));
    }
}

extern "C" __global__ void integer_product_1(
    const Integer* rows, const float* row_scales, const Integer* weight, const float* scales, double unit, const T* x,
    const Byte* outliers, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    integer_product<1>(rows, row_scales, weight, scales, (float)unit, x, outliers, bias, y, M, N, K, packed);
}

extern "C" __global__ void integer_product_8(
    const Integer* rows, const float* row_scales, const Integer* weight, const float* scales, double unit, const T* x,
    const Byte* outliers, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    integer_product<8>(rows, row_scales, weight, scales, (float)unit, x, outliers, bias, y, M, N, K, packed);
}
