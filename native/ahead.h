// Reading weights before they are needed.
//
// The first layers of a network compute long over few weights, the last ones wait for many: two linear layers are
// two thirds of MobileNetV3-Small's weights, and one pixel gives them nothing to compute meanwhile. So every step
// of a sum over many pixels also asks the memory for one line of the weights that come later in the run. (Two lines
// a step are more than the processor keeps in flight; it then drops them. With AVX2 a step takes a quarter of the
// time, and one line serves four.) It asks for no more than the caches hold beside the rest: what goes further ahead
// pushes out what is needed sooner.
#pragma once

namespace hswish {

// So many lines of 64 bytes: 1.25 MB, which the second-level cache takes or nearly. An AMD's third level is near, and
// takes what the second drops: 5 MB since there are AVX-512 and 1 MB of the second level (Zen 4); with half of that
// (Zen 3) they cost more than they bring.
static inline long lines_ahead() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f")) return 80 * 1024;
#endif
  return 20 * 1024;
}

// The weights of one layer.
struct Span {
  const float* data;
  long count;
  long lines() const { return count / 16; }
};

// What the running thread has not asked for yet. In a run each thread reads ahead for itself.
struct Ahead {
  const Span *next, *end;
  const float* at;  // of the span before `next`, where `lines` of 64 bytes are left
  long lines;
  long asked;           // lines in all
  const long* allowed;  // as many; each step that begins allows what it reads itself
  long run;             // the one that this belongs to
};

extern __thread Ahead ahead;  // plan.cpp

// Where the lines for the next `count` steps begin, and how many floats on each step looks: `each`, or 0 where none are
// left or allowed.
static inline const float* claim(long count, long each, long& distance) {
  if (ahead.lines <= 0 && ahead.next < ahead.end) {
    ahead.at = ahead.next->data, ahead.lines = ahead.next->lines();
    ahead.next++;
  }
  const float* from = ahead.at;
  distance = ahead.lines > 0 && ahead.asked < *ahead.allowed ? each : 0;
  const long lines = (count * distance + 15) / 16;
  ahead.at += lines * 16, ahead.lines -= lines, ahead.asked += lines;
  return from;
}

}  // namespace hswish
