// CUDA kernels for those equations of ops.py and attention.py that are worth a kernel of their own.
//
// T is the type of the arrays: float, double, __half or __nv_bfloat16. A is the accumulator type, in which sums, norms
// and exponentials are computed: float or double. Both are set by compiler options. Arrays are C-contiguous unless a
// kernel takes strides. Strides are in elements, not bytes. The block size is a multiple of the warp size (32 threads).

#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef ARRAYS T;
typedef SUMS A;
typedef long long Int;

const int PACK = 16 / sizeof(T);  // elements per load (16 bytes)
struct alignas(16) Pack {
    T x[PACK];
};

__device__ A wide(T x) { return (A)x; }
__device__ T narrow(A x) { return (T)x; }
__device__ float exponential(float x) { return expf(x); }
__device__ double exponential(double x) { return exp(x); }
__device__ float root(float x) { return sqrtf(x); }
__device__ double root(double x) { return sqrt(x); }
__device__ float error_function(float x) { return erff(x); }
__device__ double error_function(double x) { return erf(x); }
__device__ A larger(A x, A y) { return x > y || x != x ? x : y; }  // NaN if one of them is NaN

// The sum over the warp, returned in every thread.
__device__ A warp_sum(A x) {
    for (int apart = 16; apart; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
    return x;
}

// The sum over the block, returned in every thread. All threads add the warps' sums in the same order.
__device__ A block_sum(A x) {
    __shared__ A parts[32];
    x = warp_sum(x);
    __syncthreads();  // other threads may still read parts of the previous sum
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    A sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; ++warp) sum += parts[warp];
    return sum;
}

__device__ A block_max(A x) {
    __shared__ A parts[32];
    for (int apart = 16; apart; apart /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, apart));
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    A largest = parts[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) largest = larger(largest, parts[warp]);
    return largest;
}

// y = (x - mean) / sqrt(variance + eps) * weight + bias; one block per row of D elements. ops.layer_norm.
extern "C" __global__ void layer_norm(const T* x, const T* weight, const T* bias, T* y, Int D, double eps) {
    x += blockIdx.x * D;
    y += blockIdx.x * D;
    A sum = 0;
    for (Int i = threadIdx.x; i < D; i += blockDim.x) sum += wide(x[i]);
    A mean = block_sum(sum) / D;
    A squares = 0;
    for (Int i = threadIdx.x; i < D; i += blockDim.x) {
        A centered = wide(x[i]) - mean;
        squares += centered * centered;
    }
    A deviation = root(block_sum(squares) / D + (A)eps);
    for (Int i = threadIdx.x; i < D; i += blockDim.x)
        y[i] = narrow((wide(x[i]) - mean) / deviation * wide(weight[i]) + wide(bias[i]));
}

// y = x (1 + erf(x / sqrt 2)) / 2; one thread per element. ops.gelu.
extern "C" __global__ void gelu(const T* x, T* y, Int size) {
    Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    A value = wide(x[i]);
    y[i] = narrow((A)0.5 * value * (1 + error_function(value * (A)0.70710678118654752440)));
}

// The score, or the lowest finite value where it is masked, as in attention.attend_eager.
__device__ A masked(const T* scores, const bool* visible, Int s, A lowest) {
    return visible == nullptr || visible[s] ? wide(scores[s]) : lowest;
}

__device__ void softmax_row(const T* scores, T* probs, const bool* visible, Int S, A lowest) {
    A largest = masked(scores, visible, 0, lowest);
    for (Int s = threadIdx.x; s < S; s += blockDim.x) largest = larger(largest, masked(scores, visible, s, lowest));
    largest = block_max(largest);
    A sum = 0;
    for (Int s = threadIdx.x; s < S; s += blockDim.x)
        sum += exponential(masked(scores, visible, s, lowest) - largest);
    sum = block_sum(sum);
    for (Int s = threadIdx.x; s < S; s += blockDim.x)
        probs[s] = narrow(exponential(masked(scores, visible, s, lowest) - largest) / sum);
}

// Softmax; one block per row of S elements. ops.softmax.
extern "C" __global__ void softmax(const T* x, T* y, Int S) {
    softmax_row(x + blockIdx.x * S, y + blockIdx.x * S, nullptr, S, 0);
}

// Softmax of scores (B, H, queries, S), in place, over the visible keys only. `visible` is (B, 1, queries, S) with
// strides per_row and per_query; either may be 0.
extern "C" __global__ void masked_softmax(
    T* scores, const bool* visible, Int heads, Int queries, Int S, Int per_row, Int per_query, double lowest
) {
    Int query = blockIdx.x % queries, row = blockIdx.x / (heads * queries);
    scores += blockIdx.x * S;
    softmax_row(scores, scores, visible + row * per_row + query * per_query, S, (A)lowest);
}

// y (M, N) = x (M, K) times weight (N, K) transposed, plus bias (N), which may be null. ops.linear for a few rows.
// A warp computes one column of y for up to ROWS rows, and reads the column's weights once. `packed`: rows are aligned
// to packs. Consecutive blocks differ only in their rows, so they find the weights in the cache.
template <int ROWS>
__device__ void product(
    const T* x, const T* weight, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    Int groups = (M + ROWS - 1) / ROWS, lane = threadIdx.x % 32;
    Int first = blockIdx.x % groups * ROWS;
    Int column = blockIdx.x / groups * (blockDim.x / 32) + threadIdx.x / 32;
    if (column >= N) return;  // the whole warp
    Int rows = M - first < ROWS ? M - first : ROWS;
    x += first * K;
    weight += column * K;
    A sums[ROWS] = {};
    if (packed) {
        for (Int k = lane * PACK; k < K; k += 32 * PACK) {
            Pack w = *(const Pack*)(weight + k);
            #pragma unroll
            for (int m = 0; m < ROWS; ++m) {
                if (m >= rows) break;
                Pack given = *(const Pack*)(x + m * K + k);
                for (int i = 0; i < PACK; ++i) sums[m] += wide(given.x[i]) * wide(w.x[i]);
            }
        }
    } else {
        for (Int k = lane; k < K; k += 32) {
            #pragma unroll
            for (int m = 0; m < ROWS; ++m) {
                if (m >= rows) break;
                sums[m] += wide(x[m * K + k]) * wide(weight[k]);
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

extern "C" __global__ void product_1(
    const T* x, const T* weight, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    product<1>(x, weight, bias, y, M, N, K, packed);
}

extern "C" __global__ void product_8(
    const T* x, const T* weight, const T* bias, T* y, Int M, Int N, Int K, Int packed
) {
    product<8>(x, weight, bias, y, M, N, K, packed);
}

// softmax(q k^T scale, masked) v; one block per query, head and batch row. attention.attend_blocked.
// q (B, H, queries, width); k and v with strides per_batch, per_head and per_key; mixed (B, queries, H, width).
// A masked key is never read, because the cache may be uninitialized there. Its value is read only if its probability
// is above 0 (a fully masked row). Shared memory: the query (width), the scores (S), and a pack per thread.
extern "C" __global__ void attend(
    const T* q, const T* k, const T* v, const bool* visible, T* mixed, Int heads, Int queries, Int S, Int width,
    Int per_batch, Int per_head, Int per_key, Int per_row, Int per_query, double scale, double lowest, Int packed
) {
    extern __shared__ double shared_buffer[];
    A *query = (A*)shared_buffer, *scores = query + width, *parts = scores + S;
    Int t = blockIdx.x % queries, h = blockIdx.x / queries % heads, b = blockIdx.x / (queries * heads);
    q += blockIdx.x * width;
    k += b * per_batch + h * per_head;
    v += b * per_batch + h * per_head;
    visible += b * per_row + t * per_query;
    mixed += ((b * queries + t) * heads + h) * width;

    for (Int d = threadIdx.x; d < width; d += blockDim.x) query[d] = wide(q[d]) * (A)scale;
    __syncthreads();
    A largest = (A)lowest;
    for (Int s = threadIdx.x; s < S; s += blockDim.x) {
        A score = visible[s] ? 0 : (A)lowest;
        const T* key = k + s * per_key;
        if (visible[s] && packed) {
            for (Int d = 0; d < width; d += PACK) {
                Pack part = *(const Pack*)(key + d);
                for (int i = 0; i < PACK; ++i) score += query[d + i] * wide(part.x[i]);
            }
        } else if (visible[s]) {
            for (Int d = 0; d < width; ++d) score += query[d] * wide(key[d]);
        }
        scores[s] = score;
        largest = larger(largest, score);
    }
    largest = block_max(largest);
    A sum = 0;
    for (Int s = threadIdx.x; s < S; s += blockDim.x) {
        scores[s] = exponential(scores[s] - largest);
        sum += scores[s];
    }
    sum = block_sum(sum);  // its barrier makes all scores visible to every thread

    // Each thread sums `each` elements over every groups-th key; then the groups' sums are added in a fixed order.
    Int each = packed ? PACK : 1, across = (width + each - 1) / each;
    Int lanes = across < blockDim.x ? across : blockDim.x, groups = blockDim.x / lanes, group = threadIdx.x / lanes;
    for (Int first = 0; first < across; first += lanes) {
        Int d = (first + threadIdx.x % lanes) * each;
        A part[PACK] = {};
        if (group < groups && d < width) {
            for (Int s = group; s < S; s += groups) {
                A p = scores[s];
                if (p == 0) continue;
                if (packed) {
                    Pack value = *(const Pack*)(v + s * per_key + d);
                    for (int i = 0; i < PACK; ++i) part[i] += p * wide(value.x[i]);
                } else {
                    part[0] += p * wide(v[s * per_key + d]);
                }
            }
        }
        for (int i = 0; i < PACK; ++i) parts[threadIdx.x * PACK + i] = part[i];
        __syncthreads();
        if (threadIdx.x < lanes && d < width) {
            for (Int other = 1; other < groups; ++other)
                for (int i = 0; i < PACK; ++i) part[i] += parts[(other * lanes + threadIdx.x) * PACK + i];
            for (int i = 0; i < PACK; ++i)
                if (i < each) mixed[d + i] = narrow(part[i] / sum);
        }
        __syncthreads();
    }
}

// Writes the newest key and value of each row and head, (B, H, 1, width), to position *place of (B, H, capacity,
// width); `place` is in device memory. A position out of range is ignored. cache.StaticCache.
extern "C" __global__ void append(
    const T* k, const T* v, T* keys, T* values, const Int* place, Int size, Int width, Int capacity
) {
    Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size || *place < 0 || *place >= capacity) return;
    Int at = (i / width * capacity + *place) * width + i % width;
    keys[at] = k[i];
    values[at] = v[i];
}
