// Masks from logits, for Python: see hswish.runtime.postprocess.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "levels.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace hswish {

typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> In;
typedef nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> Cells;
typedef nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> Weights;
typedef nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> Mask;
typedef nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> MaskRow;
typedef nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu> WideLine;

static Axis axis_of(const Cells& first, const Cells& second, const Weights& weight, long cells, size_t count) {
  require(first.size() == count && second.size() == count && weight.size() == count,
          "a mask's axes have other lengths");
  bool within = true;
  int last = 0;
  for (size_t i = 0; i < count; i++) {
    const int a = first.data()[i], b = second.data()[i];
    within = within && last <= a && a <= b && b < cells;
    last = a;
  }
  require(within, "a mask looks past its logits, or not from one end to the other");
  return {first.data(), second.data(), weight.data(), static_cast<long>(count)};
}

// The two lines of every class that a row lies between, each widened once as long as rows follow each other.
class Lines {
 public:
  Lines(const MaskKernels& kernels, const Axis& across, const float* logits, long classes, long height, long width)
      : kernels_(kernels), across_(across), logits_(logits), classes_(classes), height_(height), width_(width) {
    for (Buffer& line : lines_) line = Buffer(classes * across.count);
  }
  const float* at(long row, long other) {  // not in the place of the line `other`
    for (int i = 0; i < 2; i++)
      if (held_[i] == row) return lines_[i].get();
    const int free = held_[0] == other ? 1 : 0;
    for (long c = 0; c < classes_; c++)
      kernels_.widen(across_, logits_ + (c * height_ + row) * width_, width_, lines_[free].get() + c * across_.count);
    held_[free] = row;
    return lines_[free].get();
  }

 private:
  const MaskKernels& kernels_;
  const Axis& across_;
  const float* logits_;
  long classes_, height_, width_;
  Buffer lines_[2];
  long held_[2] = {-1, -1};
};

static void fill_mask(const std::string& name, In logits, Cells top, Cells bottom, Weights down, Cells left,
                      Cells right, Weights across, Mask out) {
  require(logits.ndim() == 3 && logits.shape(0) >= 1 && logits.shape(0) <= 255,
          "logits are (K, h, w), K from 1 to 255");
  const long classes = logits.shape(0), height = logits.shape(1), width = logits.shape(2);
  const Axis rows = axis_of(top, bottom, down, height, out.shape(0));
  const Axis columns = axis_of(left, right, across, width, out.shape(1));
  const MaskKernels& kernels = *level(name).masks;
  nb::gil_scoped_release others_run;
  Lines lines(kernels, columns, logits.data(), classes, height, width);
  for (long row = 0; row < rows.count; row++) {
    const float* above = lines.at(rows.first[row], rows.second[row]);
    const float* below = lines.at(rows.second[row], rows.first[row]);
    kernels.highest(above, below, rows.weight[row], classes, columns.count, columns.count,
                    out.data() + row * columns.count);
  }
}

static void widen(const std::string& name, In line, Cells first, Cells second, Weights weight, WideLine out) {
  const long width = static_cast<long>(line.size());
  const Axis across = axis_of(first, second, weight, width, out.size());
  level(name).masks->widen(across, line.data(), width, out.data());
}

static void highest(const std::string& name, In top, In bottom, float weight, MaskRow out) {
  require(top.ndim() == 2 && bottom.ndim() == 2 && top.shape(0) == bottom.shape(0) && top.shape(1) == out.size() &&
              bottom.shape(1) == out.size(), "highest: shapes");
  const long classes = top.shape(0), width = top.shape(1);
  level(name).masks->highest(top.data(), bottom.data(), weight, classes, width, width, out.data());
}

}  // namespace hswish

void bind_masks(nb::module_ m, nb::module_ kernels) {
  using namespace hswish;
  m.def("fill_mask", fill_mask, "level"_a, "logits"_a.noconvert(), "top"_a, "bottom"_a, "down"_a, "left"_a, "right"_a,
        "across"_a, "out"_a.noconvert());
  kernels.def("widen", widen, "level"_a, "line"_a, "first"_a, "second"_a, "weight"_a, "out"_a.noconvert());
  kernels.def("highest", highest, "level"_a, "top"_a, "bottom"_a, "weight"_a, "out"_a.noconvert());
}
