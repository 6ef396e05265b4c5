// A network as a list of steps over one arena of memory.
//
// Built once from folded weights (packed here for the instruction set); copied and planned for each
// input size, the copies sharing the weights; then run without allocating anything.
#pragma once

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "ahead.h"
#include "int8_kernels.h"
#include "kernels.h"
#include "masks.h"
#include "threads.h"

namespace hswish {

// Python sees a ValueError with this text.
inline void require(bool condition, const std::string& text) {
  if (!condition) throw std::invalid_argument(text);
}

struct Shape {
  long height = 0, width = 0, channels = 0;  // channels: what is stored, a multiple of 8, or of 16 (bytes)
  long element = 4;                          // bytes of a number: 4 for floats, 2 for halves, 1 for bytes
  long pixels() const { return height * width; }
  long size() const { return pixels() * channels; }
};

// A map in the arena.
struct Tensor {
  Shape shape;
  long offset = 0;         // floats from the arena's start
  int made = 0, used = 0;  // first and last step that needs it
};

// 64-byte aligned floats, zero at first; copies share them.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(long count);
  float* get() const { return data_.get(); }

 private:
  std::shared_ptr<float> data_;
};

class Plan;

// One step: it knows its shapes, the scratch memory that it wants, and how to run.
class Step {
 public:
  virtual ~Step() = default;
  virtual std::unique_ptr<Step> copy() const = 0;
  virtual Shape plan(const Plan&) = 0;                   // the shape of its output; throws where inputs do not fit
  virtual Shape kept() const { return {}; }              // of the inner map that it keeps, if asked to
  virtual long scratch(const Plan&) const { return 0; }  // floats, shared
  virtual long work(const Plan&) const { return 0; }     // floats for each thread
  virtual long answers(bool mask) const { return 0; }    // numbers that it writes to the answer
  virtual bool can_mask() const { return false; }        // whether these may be a byte for each pixel
  virtual void run(Plan&) = 0;
  virtual void weights(std::vector<Span>&) const {}      // appends those that are worth reading ahead
  virtual std::string name() const = 0;
  std::vector<int> inputs;
  int output = -1, inner = -1;  // tensors: what it makes, and the inner map where that is kept
};

// What an instruction set provides.
struct Level {
  const char* name;
  const Kernels* kernels;
  const Int8Kernels* int8;
  const MaskKernels* masks;
  bool runs_here;
  const Bf16Kernels* bf16 = nullptr;  // where it multiplies halves
};

class Plan {
 public:
  Plan(const Level& level, int threads, bool halves);
  Plan(const Plan& built, long height, long width);
  Plan(const Plan&) = delete;

  // Appends a step and returns the tensor it makes; an inner map that is kept is the tensor before it.
  int add(std::unique_ptr<Step> step, bool keep = false);
  void add_picture(long planes);  // said by each step that looks at the picture

  // Both trust their arguments: module.cpp compares every array with the plan.
  // pictures: `count` of them, one after the other; answer: the last step's numbers for each, as floats or,
  // for a mask, bytes. False where a score that a mask was made of is not finite.
  bool run(const Picture& pictures, long count, void* answer, bool mask);
  // The median time of each step in milliseconds of this thread.
  std::vector<double> profile_ms(const Picture& pictures, void* answer, bool mask, int repeats);

  const Tensor& tensor(int id) const;
  float* data(int id) { return arena_.get() + tensors_[id].offset; }
  template <class T>
  T* map(int id) { return reinterpret_cast<T*>(data(id)); }
  uint8_t* bytes(int id) { return map<uint8_t>(id); }
  float* scratch() { return arena_.get() + scratch_; }
  float* work(int thread) { return arena_.get() + work_ + thread * work_size_; }
  const std::vector<std::unique_ptr<Step>>& steps() const { return steps_; }
  long answers(bool mask) const { return steps_.empty() ? 0 : steps_.back()->answers(mask); }
  bool can_mask() const { return !steps_.empty() && steps_.back()->can_mask(); }
  long arena_floats() const { return arena_size_; }

  const Kernels& kernels;
  const Int8Kernels& int8;
  const Bf16Kernels* const bf16;  // null where maps and weights are stored as floats
  const std::shared_ptr<Threads> pool;
  long height = 64, width = 64;  // any size will do to check the steps of a plan being built
  long planes = 0;               // of the picture
  Picture picture;
  void* answer = nullptr;
  bool mask = false, finite = true;

 private:
  static void begin_reading(void* plan);
  void run_steps(const std::function<void(size_t)>& around);

  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<Span> weights_;  // of all steps, in their order
  std::vector<long> reads_;    // lines of weights that each step reads
  long run_ = 0, allowed_ = 0;  // which of the pool's runs this is; lines that may be read ahead
  std::vector<Tensor> tensors_;
  std::vector<long> scratches_;  // where each step's scratch lies in the arena
  Buffer arena_;
  long scratch_ = 0, work_ = 0, work_size_ = 0, arena_size_ = 0;
};

// The kernels for maps that are stored as T.
template <class T>
const MapKernels<T>& kernels_of(const Plan& plan) {
  if constexpr (std::is_same_v<T, float>)
    return plan.kernels;
  else
    return *plan.bf16;
}

// Packing of weights as they come from torch: (out, in) row by row, and (channels, k, k).
template <class T>
struct PackedPointwiseOf {
  PackedPointwiseOf() = default;
  PackedPointwiseOf(const float* weights, const float* bias, long n, long k, long panel);
  PointwiseOf<T> op;
  Buffer weights, bias;
  Span span() const { return {weights.get(), op.n * op.k / GROUP<T>}; }
};
using PackedPointwise = PackedPointwiseOf<float>;

struct PackedDepthwise {
  PackedDepthwise() = default;
  PackedDepthwise(const float* weights, const float* bias, long channels, long kernel, long stride, long dilation,
                  long panel);
  Depthwise op;
  Buffer weights, bias;
};

}  // namespace hswish
