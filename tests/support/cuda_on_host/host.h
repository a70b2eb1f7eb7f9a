// The part of CUDA that kernels.cu and packed.cu need, on a CPU. The threads of a block are fibers of one thread. They run in turn,
// in any requested order, each warp up to the next barrier of the block. If a kernel does something illegal, the launch
// ends with a message.
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

struct Dim {
    unsigned x;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() host::barrier(1)
#define __shfl_xor_sync(mask, value, distance) host::shuffle(value, distance)

static float __fmul_rn(float x, float y) { return x * y; }  // never fused with a sum; nor is anything else here
static float __fadd_rn(float x, float y) { return x + y; }
static int __dp4a(int a, int b, int sum) {  // of four signed bytes each
    for (int i = 0; i < 32; i += 8) sum += (int)(signed char)(a >> i) * (signed char)(b >> i);
    return sum;
}

namespace host {

const int MAX_THREADS = 1024, STACK = 64 * 1024, GUARD = 64;
enum State { READY, WAITING, DONE };  // WAITING: at a barrier of kind 1 (the block's) or 2 (a shuffle)

struct Fiber {
    jmp_buf at;
    State state;
    int kind;  // of the barrier
    bool created;
    char *stack;
};

static Fiber fibers[MAX_THREADS];
static jmp_buf scheduler;
static void (*body)();
static int running, shuffles[MAX_THREADS];  // the current thread; how many shuffles each thread has executed
static double slots[2][MAX_THREADS];
static std::vector<unsigned char> dynamic_memory;
static const char *fault;  // message about the first error

static void yield(State state, int kind) {
    Fiber &fiber = fibers[running];
    fiber.state = state;
    fiber.kind = kind;
    if (!_setjmp(fiber.at)) _longjmp(scheduler, 1);
}

static void barrier(int kind) { yield(WAITING, kind); }

template <typename V>
static V shuffle(V value, int distance) {
    int me = running, number = ++shuffles[me], other = me / 32 * 32 + (me % 32 ^ distance);
    slots[number % 2][me] = value;
    yield(WAITING, 2);
    if (shuffles[other] < number) fault = "a shuffle with a thread that does not execute it";
    return (V)slots[number % 2][other];
}

static void fiber_main() {
    for (;;) {
        body();
        yield(DONE, 0);
    }
}

static void resume(int index) {
    running = index;
    threadIdx.x = index;
    Fiber &fiber = fibers[index];
    if (_setjmp(scheduler)) return;
    if (fiber.created) _longjmp(fiber.at, 1);
    static ucontext_t start, from;
    fiber.created = true;
    fiber.stack = (char *)malloc(STACK) + index * 320 % 16384;  // offset, so that stacks do not share cache sets
    getcontext(&start);
    start.uc_stack.ss_sp = fiber.stack;
    start.uc_stack.ss_size = STACK - 16384;
    start.uc_link = nullptr;
    makecontext(&start, fiber_main, 0);
    swapcontext(&from, &start);
}

// Runs the lanes of a warp, in turn, up to a barrier of the block or to their end.
static void run_warp(int warp, const std::vector<int> &lanes) {
    for (;;) {
        int shuffling = 0, waiting = 0;
        for (int lane : lanes) {
            int thread = warp * 32 + lane;
            if (fibers[thread].state == DONE || (fibers[thread].state == WAITING && fibers[thread].kind == 1)) continue;
            resume(thread);
        }
        for (int lane = 0; lane < 32; ++lane) {
            Fiber &fiber = fibers[warp * 32 + lane];
            shuffling += fiber.state == WAITING && fiber.kind == 2;
            waiting += fiber.state == WAITING && fiber.kind == 1;
        }
        if (shuffling && waiting) fault = "threads of a warp wait at different barriers";
        if (!shuffling || fault) return;
    }
}

// Each warp runs as far ahead as it can. order: 0 forwards, 1 backwards, otherwise the seed of a random order.
static void run_block(int threads, unsigned order) {
    std::vector<int> warps(threads / 32), lanes(32);
    for (int i = 0; i < threads; ++i) {
        fibers[i].state = READY;
        shuffles[i] = 0;
    }
    unsigned random = order;
    auto arrange = [&](std::vector<int> &turn) {
        int count = turn.size();
        for (int i = 0; i < count; ++i) turn[i] = order == 1 ? count - 1 - i : i;
        for (int i = count - 1; order > 1 && i > 0; --i) {
            random = random * 1664525u + 1013904223u;
            std::swap(turn[i], turn[(random >> 8) % (i + 1)]);
        }
    };
    for (;;) {
        arrange(warps);
        arrange(lanes);
        for (int warp : warps) run_warp(warp, lanes);
        int waiting = 0;
        for (int i = 0; i < threads; ++i) waiting += fibers[i].state == WAITING;
        if (waiting && waiting < threads) fault = "a barrier of the block that some threads did not reach";
        if (!waiting || fault) return;
        for (int i = 0; i < threads; ++i) fibers[i].state = READY;  // past the barrier
    }
}

static void *dynamic_shared() { return dynamic_memory.data(); }

// Runs every block; returns an error message, or null.
static const char *launch(void (*kernel)(), unsigned blocks, unsigned threads, unsigned shared, unsigned order) {
    fault = nullptr;
    if (!blocks || !threads || threads > MAX_THREADS || threads % 32) return "an invalid grid";
    if (shared > 48 * 1024) return "too much shared memory";
    body = kernel;
    gridDim.x = blocks;
    blockDim.x = threads;
    for (unsigned b = 0; b < blocks && !fault; ++b) {
        blockIdx.x = order == 1 ? blocks - 1 - b : b;
        dynamic_memory.assign(shared + GUARD, 0xFF);  // NaN in every floating-point type
        run_block(threads, order);
        for (int i = 0; i < GUARD; ++i)
            if (dynamic_memory[shared + i] != 0xFF) fault = "a write beyond the shared memory";
    }
    if (fault)  // some fibers stopped inside the kernel: abandon them
        for (Fiber &fiber : fibers) fiber.created = false;
    return fault;
}

}  // namespace host
