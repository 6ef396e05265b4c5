// A few threads that run one loop together.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <unistd.h>

namespace hswish {

// The caller is one of the threads. Waiting threads spin for a moment (the next layer comes within
// microseconds) and then sleep, so that an idle engine costs nothing. A forked process has none of
// them: there the caller works alone.
class Threads {
 public:
  explicit Threads(int count) {
    try {
      for (int i = 1; i < count; i++) threads_.emplace_back([this, i] { wait_for_work(i); });
    } catch (...) {  // the system grants no more threads
      stop();
      throw;
    }
  }

  ~Threads() { stop(); }

  // Frees the threads; in a forked process, where waking and joining them would wait for ever, nothing.
  static void release(Threads* pool) {
    if (pool->is_owner()) delete pool;
  }

  int count() const { return static_cast<int>(threads_.size()) + 1; }

  // work(index, thread) for every index below `count`; returns when all are done. What all of it costs, in
  // multiply-adds or so, tells whether it is worth the microsecond in which threads meet.
  template <class Work>
  void parallel(long count, const Work& work, long cost = SHARED) {
    if (threads_.empty() || count <= 1 || cost < SHARED || !is_owner()) {
      for (long i = 0; i < count; i++) work(i, 0);
      return;
    }
    call_ = [](const void* w, long i, int t) { (*static_cast<const Work*>(w))(i, t); };
    work_ = &work;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    open_.store(true);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take(0);
    // Only those that came are waited for: where something else has a thread's processor, its share is done by
    // the others. (Either it sees that the loop is closed, or it is seen here.)
    open_.store(false);
    for (long spin = 0; inside_.load(); spin++) spin < 20000 ? pause() : std::this_thread::yield();
  }

  static constexpr long SHARED = 64 * 1024;

  // Called by each thread before it helps with a loop.
  struct {
    void (*call)(void*);
    void* with;
  } helper_comes = {};
  long runs = 0;  // of plans, so that a helper knows a new one

  std::mutex running;  // held while a plan runs: its loops must not mix with another's

 private:
  bool is_owner() const { return getpid() == owner_; }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  void take(int thread) {
    for (long i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) call_(work_, i, thread);
  }

  void wait_for_work(int thread) {
    for (unsigned seen = 0;;) {
      for (int spin = 0; spin < 2000 && round_.load(std::memory_order_acquire) == seen; spin++) pause();
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
      }
      seen = round_.load(std::memory_order_acquire);
      if (stop_) return;
      inside_.fetch_add(1);
      if (open_.load()) {
        if (helper_comes.call) helper_comes.call(helper_comes.with);
        take(thread);
      }
      inside_.fetch_sub(1);
    }
  }

  const pid_t owner_ = getpid();
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> round_{0};
  std::atomic<long> next_{0};
  std::atomic<int> inside_{0};
  std::atomic<bool> open_{false};
  long count_ = 0;
  const void* work_ = nullptr;
  void (*call_)(const void*, long, int) = nullptr;
  bool stop_ = false;
};

}  // namespace hswish
