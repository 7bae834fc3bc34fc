// The fibres behind cuda_runtime.h: one thread of a block runs until it waits, then the next.
//
// The order they take turns in is set from outside: a kernel that lacks a barrier answers differently in another order.
#include "cuda_runtime.h"

#include <algorithm>
#include <csetjmp>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <ucontext.h>
#include <vector>

namespace
{
constexpr std::size_t STACK = 128 * 1024, SHARED = 48 * 1024, FENCE = 1024;
constexpr unsigned char POISON = 0xff; // four of them are a NaN

struct Fibre
{
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t first;
    jmp_buf place;
    bool started = false, done = true;
    simt::Wait waits = simt::Wait::none;
};

struct Warp
{
    unsigned slots[2][32];
    int turn = 0;
};

std::vector<std::unique_ptr<Fibre>> fibres;
std::vector<Warp> warps;
std::function<void()> const* work;
jmp_buf scheduler;
ucontext_t home;
int now;            // the thread that runs
dim3 block_size;
int order_of_turns; // 0 forwards, 1 backwards, else shuffled with this seed
std::string failure;

void place_thread(int thread)
{
    now = thread;
    threadIdx = dim3(thread % block_size.x, thread / block_size.x % block_size.y, 0);
}

void yield()
{
    if (_setjmp(fibres[now]->place) == 0)
        _longjmp(scheduler, 1);
}

void life()
{
    for (;;)
    {
        (*work)();
        fibres[now]->done = true;
        yield();
    }
}

void resume(int thread)
{
    Fibre& fibre = *fibres[thread];
    place_thread(thread);
    fibre.waits = simt::Wait::none;
    if (_setjmp(scheduler) != 0)
        return;
    if (fibre.started)
        _longjmp(fibre.place, 1);
    fibre.started = true;
    getcontext(&fibre.first);
    fibre.first.uc_stack.ss_sp = fibre.stack.get();
    fibre.first.uc_stack.ss_size = STACK;
    fibre.first.uc_link = &home;
    makecontext(&fibre.first, life, 0);
    setcontext(&fibre.first);
}

std::vector<int> turns(int count, int salt)
{
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    if (order_of_turns == 1)
        std::reverse(order.begin(), order.end());
    if (order_of_turns > 1)
        std::shuffle(order.begin(), order.end(), std::mt19937(order_of_turns + salt));
    return order;
}

// Every thread of [first, first + count) waits at the same kind of place.
bool agree(int first, int count, simt::Wait& at)
{
    at = fibres[first]->waits;
    for (int i = first; i < first + count; ++i)
        if (fibres[i]->done || fibres[i]->waits != at)
            return false;
    return true;
}

// Runs a warp until all its lanes wait for the block or are done.
void run_warp(int warp, std::vector<int> const& lanes)
{
    simt::Wait at = simt::Wait::none;
    do
    {
        if (at == simt::Wait::shuffle || at == simt::Wait::ballot)
            warps[warp].turn ^= 1;
        for (int lane : lanes)
            if (!fibres[warp * 32 + lane]->done && failure.empty())
                resume(warp * 32 + lane);
    } while (failure.empty() && agree(warp * 32, 32, at) && at != simt::Wait::block);
    if (failure.empty() && at != simt::Wait::block)
        for (int lane = 0; lane < 32; ++lane)
            if (!fibres[warp * 32 + lane]->done)
                return simt::fail("lanes of a warp wait at different places, or some are gone");
}

void run_block(int threads)
{
    for (int i = 0; i < threads; ++i)
        fibres[i]->done = false;
    std::vector<int> const lanes = turns(32, 1), order = turns(threads / 32, 2);
    simt::Wait at = simt::Wait::block;
    while (failure.empty() && at == simt::Wait::block)
    {
        for (int warp : order)
            if (failure.empty())
                run_warp(warp, lanes);
        bool any = false;
        for (int i = 0; i < threads; ++i)
            any |= !fibres[i]->done;
        if (!any)
            return;
        if (failure.empty() && !agree(0, threads, at))
            simt::fail("some threads wait for the block and others are done");
    }
}
} // namespace

dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace refit
{
alignas(16) uint4 shared_bytes[(SHARED + FENCE) / sizeof(uint4)];
}

namespace simt
{
int lane() { return now % 32; }

unsigned* exchange()
{
    return warps[now / 32].slots[warps[now / 32].turn];
}

void wait(Wait kind)
{
    fibres[now]->waits = kind;
    yield();
}

void fail(char const* what)
{
    if (failure.empty())
        failure = what;
}

cudaError_t launch(dim3 grid, dim3 block, std::size_t shared, std::function<void()> const& kernel)
{
    int const threads = block.x * block.y * block.z;
    if (threads % 32 != 0 || threads > 1024 || shared > SHARED)
        return cudaErrorInvalidValue;
    failure.clear();
    while (fibres.size() < 1024)
        fibres.push_back(std::make_unique<Fibre>());
    warps.assign(32, Warp{});
    work = &kernel;
    gridDim = grid, blockDim = block_size = block;
    auto* const bytes = reinterpret_cast<unsigned char*>(refit::shared_bytes);
    for (int index : turns(grid.x * grid.y * grid.z, 3))
    {
        blockIdx = dim3(index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y);
        std::memset(bytes, POISON, SHARED + FENCE);
        run_block(threads);
        for (std::size_t i = shared; i < shared + FENCE && failure.empty(); ++i)
            if (bytes[i] != POISON)
                fail("a write behind the shared memory asked for");
        if (!failure.empty())
        {
            fibres.clear();
            return cudaErrorLaunchFailure;
        }
    }
    return cudaSuccess;
}
} // namespace simt

extern "C" void simt_order(int order) { order_of_turns = order; }
extern "C" char const* simt_failure() { return failure.c_str(); }
