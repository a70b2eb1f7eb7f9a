// As much of CUDA as kernels.cu needs, on an ordinary processor: a block's threads are fibers of one thread, which are
// run in turn, in any order that is asked for, each warp as far as the next barrier of the block. What a kernel may not
// do ends it with a word.
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
#define __shfl_xor_sync(mask, value, apart) host::shuffle(value, apart)

namespace host {

const int MOST = 1024, STACK = 64 * 1024, GUARD = 64;
enum State { NEW, WAITS, DONE };  // free to run, at a barrier (kind 1: the block's, 2: a shuffle), ended

struct Fiber {
    jmp_buf at;
    State state;
    int kind;  // of the barrier it waits at
    bool made;
    char *stack;
};

static Fiber fibers[MOST];
static jmp_buf scheduler;
static void (*body)();
static int running, shuffles[MOST];  // the thread that runs; how many each has taken part in
static double slots[2][MOST];
static std::vector<unsigned char> dynamic_memory;
static const char *fault;  // what went wrong first

static void yield(State state, int kind) {
    Fiber &fiber = fibers[running];
    fiber.state = state;
    fiber.kind = kind;
    if (!_setjmp(fiber.at)) _longjmp(scheduler, 1);
}

static void barrier(int kind) { yield(WAITS, kind); }

template <typename V>
static V shuffle(V value, int apart) {
    int me = running, number = ++shuffles[me], other = me / 32 * 32 + (me % 32 ^ apart);
    slots[number % 2][me] = value;
    yield(WAITS, 2);
    if (shuffles[other] < number) fault = "a shuffle with a thread that takes no part";
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
    if (fiber.made) _longjmp(fiber.at, 1);
    static ucontext_t start, from;
    fiber.made = true;
    fiber.stack = (char *)malloc(STACK) + index * 320 % 16384;  // not all at the same place of the processor's caches
    getcontext(&start);
    start.uc_stack.ss_sp = fiber.stack;
    start.uc_stack.ss_size = STACK - 16384;
    start.uc_link = nullptr;
    makecontext(&start, fiber_main, 0);
    swapcontext(&from, &start);
}

// Runs the lanes of a warp, in turn, to a barrier of the block or to their end.
static void run_warp(int warp, const std::vector<int> &lanes) {
    for (;;) {
        int shuffling = 0, waiting = 0;
        for (int lane : lanes) {
            int thread = warp * 32 + lane;
            if (fibers[thread].state == DONE || (fibers[thread].state == WAITS && fibers[thread].kind == 1)) continue;
            resume(thread);
        }
        for (int lane = 0; lane < 32; ++lane) {
            Fiber &fiber = fibers[warp * 32 + lane];
            shuffling += fiber.state == WAITS && fiber.kind == 2;
            waiting += fiber.state == WAITS && fiber.kind == 1;
        }
        if (shuffling && waiting) fault = "threads of a warp wait at different barriers";
        if (!shuffling || fault) return;
    }
}

// A warp runs as far ahead as it may. order: 0 forwards, 1 backwards, otherwise the seed of a shuffled one.
static void run_block(int threads, unsigned order) {
    std::vector<int> warps(threads / 32), lanes(32);
    for (int i = 0; i < threads; ++i) {
        fibers[i].state = NEW;
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
        for (int i = 0; i < threads; ++i) waiting += fibers[i].state == WAITS;
        if (waiting && waiting < threads) fault = "a barrier of the block that some threads have passed by";
        if (!waiting || fault) return;
        for (int i = 0; i < threads; ++i) fibers[i].state = NEW;  // past the barrier
    }
}

static void *dynamic_shared() { return dynamic_memory.data(); }

// Runs every block; returns what went wrong, or null.
static const char *launch(void (*given)(), unsigned blocks, unsigned threads, unsigned shared, unsigned order) {
    fault = nullptr;
    if (!blocks || !threads || threads > MOST || threads % 32) return "no such grid";
    if (shared > 48 * 1024) return "too much shared memory";
    body = given;
    gridDim.x = blocks;
    blockDim.x = threads;
    for (unsigned b = 0; b < blocks && !fault; ++b) {
        blockIdx.x = order == 1 ? blocks - 1 - b : b;
        dynamic_memory.assign(shared + GUARD, 0xFF);  // NaN, whatever it is read as
        run_block(threads, order);
        for (int i = 0; i < GUARD; ++i)
            if (dynamic_memory[shared + i] != 0xFF) fault = "written beyond the shared memory";
    }
    if (fault)  // some are in the middle of the kernel: they are left there
        for (Fiber &fiber : fibers) fiber.made = false;
    return fault;
}

}  // namespace host
