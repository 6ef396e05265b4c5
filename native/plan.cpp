#include "plan.h"

#include <algorithm>
#include <ctime>
#include <cstring>

namespace hswish {

int Plan::add(std::unique_ptr<Step> step) {
  step->output = static_cast<int>(tensors_.size());
  tensors_.push_back({});
  steps_.push_back(std::move(step));
  return steps_.back()->output;
}

// Shapes first, then each tensor at the lowest offset that no living tensor needs.
void Plan::prepare(long h, long w) {
  height = h, width = w;
  for (int i = 0; i < static_cast<int>(steps_.size()); i++) {
    Step& step = *steps_[i];
    Tensor& made = tensors_[step.output];
    made.shape = step.plan(*this);
    made.made = made.used = i;
    for (int input : step.inputs) tensors_.at(input).used = i;
  }
  tensors_.back().used = static_cast<int>(steps_.size());
  long end = 0;
  for (size_t i = 0; i < tensors_.size(); i++) {
    Tensor& tensor = tensors_[i];
    const long size = round_up(tensor.shape.size(), 16) + 16;
    std::vector<std::pair<long, long>> taken;
    for (size_t j = 0; j < i; j++)
      if (tensors_[j].used >= tensor.made) taken.emplace_back(tensors_[j].offset, tensors_[j].offset + round_up(tensors_[j].shape.size(), 16) + 16);
    std::sort(taken.begin(), taken.end());
    tensor.offset = 0;
    for (auto [from, to] : taken)
      if (from < tensor.offset + size) tensor.offset = std::max(tensor.offset, to);
    end = std::max(end, tensor.offset + size);
  }
  long scratch = 0;
  work_size_ = 0;
  for (auto& step : steps_) {
    scratch = std::max(scratch, step->scratch(*this));
    work_size_ = std::max(work_size_, round_up(step->work(*this), 16) + 32);
  }
  scratch_ = end;
  work_ = round_up(end + scratch + 16, 16);
  arena_size_ = work_ + work_size_ * threads.count();
  arena_ = Buffer(arena_size_);
}

void Plan::run(const float* input, void* output) {
  picture = input, answer = output;
  for (auto& step : steps_) step->run(*this);
}

std::vector<double> Plan::profile_ms(const float* input, void* output, int repeats) {
  std::vector<std::vector<double>> times(steps_.size());
  picture = input, answer = output;
  for (int r = 0; r < repeats; r++)
    for (size_t i = 0; i < steps_.size(); i++) {
      timespec a, b;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
      steps_[i]->run(*this);
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
      times[i].push_back((b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) * 1e-6);
    }
  std::vector<double> medians;
  for (auto& t : times) {
    std::nth_element(t.begin(), t.begin() + t.size() / 2, t.end());
    medians.push_back(t[t.size() / 2]);
  }
  return medians;
}

PackedPointwise::PackedPointwise(const float* w, const float* b, long n, long k, long panel) {
  const long padded = round_up(n, 8);
  weights = Buffer(padded * k), bias = Buffer(padded);
  if (b) std::copy_n(b, n, bias.get());
  float* to = weights.get();
  for (long first = 0; first < padded; first += panel)
    for (long i = 0; i < k; i++)
      for (long c = first; c < std::min(first + panel, padded); c++) *to++ = c < n ? w[c * k + i] : 0.0f;
  op = {weights.get(), bias.get(), k, padded};
}

PackedDepthwise::PackedDepthwise(const float* w, const float* b, long channels, long kernel, long stride,
                                 long dilation, long panel) {
  weights = Buffer(channels * kernel * kernel), bias = Buffer(channels);
  std::copy_n(b, channels, bias.get());
  float* to = weights.get();
  for (long first = 0; first < channels; first += panel)
    for (long i = 0; i < kernel * kernel; i++)
      for (long c = first; c < std::min(first + panel, channels); c++) *to++ = w[c * kernel * kernel + i];
  op = {weights.get(), bias.get(), channels, kernel, stride, dilation};
}

}  // namespace hswish
