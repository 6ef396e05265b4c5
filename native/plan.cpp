#include "plan.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <mutex>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace hswish {

constexpr long MAX_SIDE = 65536;  // of a picture, in pixels

__thread Ahead ahead = {};

// Fresh from the system: what malloc gives a second time may lie in small pages already.
static std::shared_ptr<char> mapped(long bytes, long alignment) {
  const long size = round_up(bytes, alignment) + alignment;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<intptr_t>(memory), alignment));
#if defined(MADV_HUGEPAGE)
  madvise(aligned, size - alignment, MADV_HUGEPAGE);
#endif
  return {aligned, [memory, size](char*) { munmap(memory, size); }};
}

// Buffers lie in pages of 2 MB, where the system has them: a network's weights are read once in a run, and the
// processor would look up thousands of pages of 4 KB. Small ones share pages, which go when the last of them goes.
Buffer::Buffer(long count) {
  constexpr long page = 2 << 20, room = 4 * page;
  static std::mutex mutex;
  static std::shared_ptr<char> shared;
  static long used = room;
  const long bytes = round_up(count * static_cast<long>(sizeof(float)) + 64, 64);
#if defined(__SANITIZE_ADDRESS__)
  std::shared_ptr<char> memory(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);  // its end is watched
  if (!memory) throw std::bad_alloc();
#else
  std::shared_ptr<char> memory;
  if (bytes > room / 2) {
    memory = mapped(bytes, page);
  } else {
    std::lock_guard<std::mutex> lock(mutex);
    if (used + bytes > room) shared = mapped(room, page), used = 0;
    memory = {shared, shared.get() + used};
    used += bytes;
  }
#endif
  data_ = {memory, reinterpret_cast<float*>(memory.get())};
  std::fill_n(data_.get(), count, 0.0f);
}

Plan::Plan(const Level& level, int threads, bool halves)
    : kernels(*level.kernels), int8(*level.int8), bf16(halves ? level.bf16 : nullptr),
      pool(new Threads(threads), Threads::release) {
  require(!halves || level.bf16, std::string(level.name) + " does not multiply halves here");
}

// Shapes first, then each tensor, and each step's scratch, at the lowest offset that no living tensor needs.
Plan::Plan(const Plan& built, long height, long width)
    : kernels(built.kernels), int8(built.int8), bf16(built.bf16), pool(built.pool), height(height), width(width), planes(built.planes),
      tensors_(built.tensors_) {
  require(height >= 1 && width >= 1 && height <= MAX_SIDE && width <= MAX_SIDE, "a picture has sides of 1 to 65536 pixels");
  require(built.answers(false) > 0, "the plan ends without an answer");
  for (const auto& step : built.steps_) steps_.push_back(step->copy());
  for (int i = 0; i < static_cast<int>(steps_.size()); i++) {
    Step& step = *steps_[i];
    Tensor& made = tensors_[step.output];
    made.shape = step.plan(*this);
    made.made = made.used = i;
    if (step.inner >= 0) {
      tensors_[step.inner].shape = step.kept();
      tensors_[step.inner].made = tensors_[step.inner].used = i;
    }
    for (int input : step.inputs) tensors_[input].used = i;
  }
  for (const auto& step : steps_) {
    const size_t before = weights_.size();
    step->weights(weights_);
    reads_.push_back(0);
    for (size_t i = before; i < weights_.size(); i++) reads_.back() += weights_[i].lines();
  }
  const auto room = [](const Tensor& tensor) { return round_up(tensor.shape.size() * tensor.shape.element, 64) / 4 + 16; };
  // The lowest offset with room for `count` floats where none of the first `tensors` lives between these steps.
  const auto lowest_free = [&](long count, size_t tensors, int from_step, int to_step) {
    std::vector<std::pair<long, long>> taken;
    for (size_t j = 0; j < tensors; j++)
      if (tensors_[j].used >= from_step && tensors_[j].made <= to_step)
        taken.emplace_back(tensors_[j].offset, tensors_[j].offset + room(tensors_[j]));
    std::sort(taken.begin(), taken.end());
    long offset = 0;
    for (auto [from, to] : taken)
      if (from < offset + count) offset = std::max(offset, to);
    return offset;
  };
  long end = 0;
  for (size_t i = 0; i < tensors_.size(); i++) {
    Tensor& tensor = tensors_[i];
    tensor.offset = lowest_free(room(tensor), i, tensor.made, tensor.used);
    end = std::max(end, tensor.offset + room(tensor));
  }
  for (int i = 0; i < static_cast<int>(steps_.size()); i++) {
    const long count = round_up(steps_[i]->scratch(*this) + 16, 16);
    scratches_.push_back(lowest_free(count, tensors_.size(), i, i));
    end = std::max(end, scratches_.back() + count);
    work_size_ = std::max(work_size_, round_up(steps_[i]->work(*this), 16) + 32);
  }
  work_ = round_up(end, 16);
  arena_size_ = work_ + work_size_ * pool->count();
  arena_ = Buffer(arena_size_);
}

int Plan::add(std::unique_ptr<Step> step, bool keep) {
  require(answers(false) == 0, "a plan goes no further than its answer");
  for (int input : step->inputs) tensor(input);
  if (keep) step->inner = static_cast<int>(tensors_.size());
  Tensor made;
  made.shape = step->plan(*this);
  if (keep) {
    tensors_.emplace_back();
    tensors_.back().shape = step->kept();
  }
  step->output = static_cast<int>(tensors_.size());
  tensors_.push_back(made);
  steps_.push_back(std::move(step));
  return steps_.back()->output;
}

void Plan::add_picture(long count) {
  require(planes == 0 || planes == count, "two steps disagree on the channels of the picture");
  planes = count;
}

const Tensor& Plan::tensor(int id) const {
  require(id >= 0 && id < static_cast<int>(tensors_.size()), "no step makes tensor " + std::to_string(id));
  return tensors_[id];
}

// A thread that comes to help begins to read ahead.
void Plan::begin_reading(void* plan) {
  const Plan& self = *static_cast<Plan*>(plan);
  if (ahead.run == self.run_) return;
  const Span* first = self.weights_.data();
  ahead = {first, first + self.weights_.size(), nullptr, 0, 0, &self.allowed_, self.run_};
}

void Plan::run_steps(const std::function<void(size_t)>& around) {
  run_ = ++pool->runs;
  static const long most = lines_ahead();
  allowed_ = most;
  struct Reading {
    Threads& pool;
    ~Reading() { pool.helper_comes = {}, ahead = {}; }
  } reading{*pool};
  pool->helper_comes = {begin_reading, this};
  begin_reading(this);
  for (size_t step = 0; step < steps_.size(); step++) {
    allowed_ += reads_[step], scratch_ = scratches_[step];
    around(step);
  }
}

// All plans of one network share its threads, so one runs at a time.
bool Plan::run(const Picture& pictures, long count, void* answers_to, bool wants_mask) {
  std::lock_guard<std::mutex> lock(pool->running);
  mask = wants_mask, finite = true;
  for (long i = 0; i < count; i++) {
    picture = pictures;
    if (picture.floats) picture.floats += i * planes * height * width;
    if (picture.bytes) picture.bytes += i * planes * height * width;
    answer = static_cast<char*>(answers_to) + i * answers(mask) * (mask ? 1 : sizeof(float));
    run_steps([&](size_t step) { steps_[step]->run(*this); });
  }
  return finite;
}

std::vector<double> Plan::profile_ms(const Picture& pictures, void* answer_to, bool wants_mask, int repeats) {
  require(repeats >= 1, "a profile needs one repeat or more");
  std::lock_guard<std::mutex> lock(pool->running);
  std::vector<std::vector<double>> times(steps_.size());
  picture = pictures, answer = answer_to, mask = wants_mask;
  for (int r = 0; r < repeats; r++) {
    run_steps([&](size_t i) {
      timespec a, b;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
      steps_[i]->run(*this);
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
      times[i].push_back((b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) * 1e-6);
    });
  }
  std::vector<double> medians;
  for (auto& t : times) {
    std::nth_element(t.begin(), t.begin() + t.size() / 2, t.end());
    medians.push_back(t[t.size() / 2]);
  }
  return medians;
}

static void put(float x, float* to) { *to = x; }

// To the nearest, of two to the even one; what is not a number stays so.
static void put(float x, Bf16* to) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  to->bits = static_cast<uint16_t>(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class T>
PackedPointwiseOf<T>::PackedPointwiseOf(const float* w, const float* b, long n, long k, long panel) {
  const long padded = round_up(n, 8), even = round_up(k, GROUP<T>);
  weights = Buffer(padded * even / GROUP<T>), bias = Buffer(padded);
  std::copy_n(b, n, bias.get());
  T* const packed = reinterpret_cast<T*>(weights.get());
  T* to = packed;
  for (long first = 0; first < padded; first += panel)
    for (long i = 0; i < even; i += GROUP<T>)
      for (long c = first; c < std::min(first + panel, padded); c++)
        for (long j = i; j < i + GROUP<T>; j++) put(c < n && j < k ? w[c * k + j] : 0.0f, to++);
  op = {packed, bias.get(), even, padded};
}
template struct PackedPointwiseOf<float>;
template struct PackedPointwiseOf<Bf16>;

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
