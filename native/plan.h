// A network as a list of steps over one arena of memory.
//
// Built once from folded weights (packed here for the instruction set); planned once for each input
// size; then run without allocating anything.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace hswish {

struct Shape {
  long height = 0, width = 0, channels = 0;  // channels: what is stored, a multiple of 8
  long pixels() const { return height * width; }
  long size() const { return pixels() * channels; }
};

// A map in the arena.
struct Tensor {
  Shape shape;
  long offset = 0;      // floats from the arena's start
  int made = 0, used = 0;  // first and last step that needs it
};

// 64-byte aligned floats.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(long count) : data_(static_cast<float*>(std::aligned_alloc(64, (count * 4 + 127) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
    std::fill_n(data_.get(), count, 0.0f);
  }
  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
};

class Plan;

// One step: it knows its shapes, the scratch memory that it wants, and how to run.
class Step {
 public:
  virtual ~Step() = default;
  virtual Shape plan(const Plan&) = 0;               // the shape of its output
  virtual long scratch(const Plan&) const { return 0; }   // floats, shared
  virtual long work(const Plan&) const { return 0; }      // floats for each thread
  virtual void run(Plan&) const = 0;
  virtual std::string name() const = 0;
  std::vector<int> inputs;
  int output = -1;
};

class Plan {
 public:
  Plan(const Kernels& kernels, int threads) : kernels(kernels), threads(threads) {}

  int add(std::unique_ptr<Step> step);  // returns the tensor it makes
  void prepare(long height, long width);
  // picture: (in_channels, height, width); answer: the last step's.
  void run(const float* picture, void* answer);

  const Tensor& tensor(int id) const { return tensors_.at(id); }
  float* data(int id) { return arena_.get() + tensors_[id].offset; }
  float* scratch() { return arena_.get() + scratch_; }
  float* work(int thread) { return arena_.get() + work_ + thread * work_size_; }
  std::vector<double> profile_ms(const float* picture, void* answer, int repeats);
  const std::vector<std::unique_ptr<Step>>& steps() const { return steps_; }
  long arena_floats() const { return arena_size_; }

  const Kernels& kernels;
  Threads threads;
  long height = 0, width = 0;
  const float* picture = nullptr;
  void* answer = nullptr;

 private:
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<Tensor> tensors_;
  Buffer arena_;
  long scratch_ = 0, work_ = 0, work_size_ = 0, arena_size_ = 0;
};

// Packing of weights as they come from torch: (out, in) row by row, and (channels, k, k).
struct PackedPointwise {
  PackedPointwise() = default;
  PackedPointwise(const float* weights, const float* bias, long n, long k, long panel);
  Pointwise op;
  Buffer weights, bias;
};

struct PackedDepthwise {
  PackedDepthwise() = default;
  PackedDepthwise(const float* weights, const float* bias, long channels, long kernel, long stride, long dilation,
                  long panel);
  Depthwise op;
  Buffer weights, bias;
};

}  // namespace hswish
