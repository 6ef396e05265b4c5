// Reading weights before they are needed.
//
// The first layers of a network compute long over few weights, the last ones wait for many: two linear layers are
// two thirds of MobileNetV3-Small's weights, and one pixel gives them nothing to compute meanwhile. So every step
// of a sum over many pixels also asks the memory for one line of the weights that come later in the run. (Two lines
// a step are more than the processor keeps in flight; it then drops them.)
#pragma once

namespace hswish {

// The weights of one layer.
struct Span {
  const float* data;
  long count;
};

// What the running thread has not asked for yet.
struct Ahead {
  const Span *next, *end;
  const float* at;  // of the span before `next`, where `lines` of 64 bytes are left
  long lines;
};

extern __thread Ahead ahead;  // plan.cpp

// Where the next `count` lines begin, and how many floats it is from one to the next: 0 where none are left.
static inline const float* claim(long count, long& distance) {
  if (ahead.lines <= 0 && ahead.next < ahead.end) {
    ahead.at = ahead.next->data, ahead.lines = ahead.next->count / 16;
    ahead.next++;
  }
  const float* from = ahead.at;
  distance = ahead.lines > 0 ? 16 : 0;
  ahead.at += count * distance, ahead.lines -= count;
  return from;
}

}  // namespace hswish
