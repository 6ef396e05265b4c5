// Each kernel by itself, for the tests: shapes are given by the arrays, which are checked.
//
// The first argument is always the instruction set. Channels are last, and multiples of 8 as in the engine;
// arrays may begin anywhere, so that the tests can take unaligned ones.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "levels.h"
#include "steps.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace hswish;

typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> In;
typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Out;
typedef nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu> Bytes;
typedef nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu> ByteIn;

template <class Array>
static long size(const Array& array, size_t axis) {
  require(axis < array.ndim(), "an array has too few dimensions");
  return static_cast<long>(array.shape(axis));
}

static void pointwise(const std::string& name, In x, In w, In b, int act, Out out, std::optional<In> residual) {
  const Kernels& k = *level(name).kernels;
  const long pixels = size(x, 0), channels = size(x, 1), n = size(w, 0);
  require(size(w, 1) == channels && size(b, 0) == n && n % 8 == 0, "pointwise: weights");
  require(size(out, 0) == pixels && size(out, 1) == n && (!residual || residual->size() == out.size()), "pointwise: out");
  const PackedPointwise packed(w.data(), b.data(), n, channels, k.panel);
  for (long first = 0; first < n; first += k.panel)
    k.pointwise(packed.op, static_cast<Act>(act), first, x.data(), channels, out.data(), n,
                residual ? residual->data() : nullptr, pixels);
}

// Expansion (or none) and depthwise of x (H, W, C); the rows are asked for in strips of `strip`.
static void block_rows(const std::string& name, In x, std::optional<In> w, std::optional<In> b, In dw, In db, int act,
                       int depthwise_act, long stride, long dilation, bool same, long strip, Out out, Out sums) {
  const Kernels& k = *level(name).kernels;
  const long channels = size(dw, 0), kernel = size(dw, 1);
  require(channels % 8 == 0 && (kernel == 3 || kernel == 5) && size(db, 0) == channels && strip >= 1, "block: depthwise");
  PackedPointwise expand;
  if (w) expand = PackedPointwise(w->data(), b.value().data(), channels, size(*w, 1), k.panel);
  require(size(x, 2) == (w ? size(*w, 1) : channels) && (!w || size(*w, 0) == channels), "block: expansion");
  const PackedDepthwise depthwise(dw.data(), db.data(), channels, kernel, stride, dilation, k.panel);
  const Geometry g = geometry({size(x, 0), size(x, 1), 0}, kernel, stride, dilation, same);
  require(size(out, 0) == g.out_height && size(out, 1) == g.out_width && size(out, 2) == channels &&
              size(sums, 0) == channels, "block: out");
  Buffer work(k.block_work(depthwise.op, g));
  for (long first = 0; first < channels; first += k.panel) {
    BlockState state;
    for (long y = 0; y < g.out_height; y += strip) {
      BlockRows op{expand.op, depthwise.op, static_cast<Act>(act), static_cast<Act>(depthwise_act), g, first, x.data(),
                   size(x, 2), out.data() + y * g.out_width * channels + first, channels, sums.data(), work.get(), y,
                   std::min(y + strip, g.out_height)};
      k.block_rows(op, state);
    }
  }
}

static void stem(const std::string& name, Picture x, long planes, long height, long width, In w, In b, int act,
                 long stride, bool same, Out out) {
  const Kernels& k = *level(name).kernels;
  const long n = size(b, 0);
  require(n % 8 == 0 && size(w, 0) == n && size(w, 1) == planes && size(w, 2) == 3 && size(w, 3) == 3, "stem: weights");
  const StemStep step(w.data(), b.data(), n, planes, stride, static_cast<Act>(act), same);
  const Geometry g = geometry({height, width, 0}, 3, stride, 1, same);
  require(size(out, 0) == g.out_height && size(out, 1) == g.out_width && size(out, 2) == n, "stem: out");
  Buffer work(k.stem_work(step.op(), g));
  for (long row = 0; row < g.out_height; row++)
    k.stem_row(step.op(), static_cast<Act>(act), g, x, row, out.data() + row * g.out_width * n, work.get());
}

static void stem_floats(const std::string& name, In x, In w, In b, int act, long stride, bool same, Out out) {
  Picture picture;
  picture.floats = x.data();
  stem(name, picture, size(x, 0), size(x, 1), size(x, 2), w, b, act, stride, same, out);
}

static void stem_bytes(const std::string& name, ByteIn x, In table, In w, In b, int act, long stride, bool same,
                       Out out) {
  require(size(table, 0) == size(x, 2) && size(table, 1) == 256, "stem: table");
  Picture picture;
  picture.bytes = x.data(), picture.table = table.data();
  stem(name, picture, size(x, 2), size(x, 0), size(x, 1), w, b, act, stride, same, out);
}

static void scale(const std::string& name, Out x, In gate, int act) {
  require(size(x, 1) % 8 == 0 && size(gate, 0) == size(x, 1), "scale: shapes");
  level(name).kernels->scale(x.data(), gate.data(), size(x, 1), size(x, 0), static_cast<Act>(act));
}

static void scale_panel(const std::string& name, Out out, In w, In gate) {
  require(size(w, 1) % 8 == 0 && size(gate, 0) == size(w, 0) && out.size() == w.size(), "scale_panel: shapes");
  level(name).kernels->scale_panel(out.data(), w.data(), gate.data(), size(w, 0), size(w, 1));
}

static void mean(const std::string& name, In x, long top, long left, long rows, long columns, Out out) {
  const long channels = size(x, 2), row = size(x, 1) * channels;
  require(top >= 0 && left >= 0 && rows >= 1 && columns >= 1 && top + rows <= size(x, 0) && left + columns <= size(x, 1) &&
              channels % 8 == 0 && size(out, 0) == channels, "mean: shapes");
  level(name).kernels->mean(x.data() + top * row + left * channels, channels, rows, columns, row, out.data());
}

static void h_sigmoid(const std::string& name, Out x) {
  require(x.size() % 8 == 0, "h_sigmoid: a multiple of 8");
  level(name).kernels->h_sigmoid(x.data(), static_cast<long>(x.size()));
}

// x (h, w, C) resized to the size of out (H, W, C), and combined with it.
static void upsample_onto(const std::string& name, In x, bool align_corners, bool multiply, int act, Out out) {
  const Kernels& k = *level(name).kernels;
  const long channels = size(x, 2);
  require(channels % 8 == 0 && size(out, 2) == channels && x.size() > 0, "upsample: channels");
  const Resize down(size(x, 0), size(out, 0), align_corners), across(size(x, 1), size(out, 1), align_corners);
  for (long row = 0; row < size(out, 0); row++) {
    float* to = out.data() + row * size(out, 1) * channels;
    if (multiply)
      k.upsample_multiply_row(down.axis(), across.axis(), row, x.data(), size(x, 1), channels, to);
    else
      k.upsample_add_row(down.axis(), across.axis(), row, x.data(), size(x, 1), channels, static_cast<Act>(act), to);
  }
}

// x (h, w, C) as planes of `used` channels.
static Buffer planes_of(In x, long used) {
  require(size(x, 2) % 8 == 0 && used >= 1 && used <= size(x, 2) && x.size() > 0, "upsample: channels");
  const Shape shape{size(x, 0), size(x, 1), size(x, 2)};
  Buffer planes(used * shape.pixels());
  to_planes(x.data(), shape, used, 0, shape.height, planes.get());
  return planes;
}

static void upsample_planes(const std::string& name, In x, bool align_corners, Out out) {
  Buffer planes = planes_of(x, size(out, 0)), work(scores_work(size(out, 0), size(x, 1)));
  const Resize down(size(x, 0), size(out, 1), align_corners), across(size(x, 1), size(out, 2), align_corners);
  for (long row = 0; row < size(out, 1); row++)
    level(name).kernels->upsample_planes_row(down.axis(), across.axis(), row, planes.get(), size(x, 0), size(x, 1), size(out, 0),
                                    out.data(), work.get());
}

static void upsample_mask(const std::string& name, In x, long used, bool align_corners, Bytes out) {
  Buffer planes = planes_of(x, used), work(scores_work(used, size(x, 1)));
  const Resize down(size(x, 0), size(out, 0), align_corners), across(size(x, 1), size(out, 1), align_corners);
  for (long row = 0; row < size(out, 0); row++)
    level(name).kernels->upsample_mask_row(down.axis(), across.axis(), row, planes.get(), size(x, 0), size(x, 1), used,
                                  out.data() + row * size(out, 1), work.get());
}

static long multiply_adds(const std::string& name, long rounds) {
  float sum[16] = {};
  return level(name).kernels->multiply_adds(rounds, sum);
}

void bind_kernels(nb::module_ m) {
  m.def("pointwise", pointwise, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "out"_a.noconvert(), "residual"_a = nb::none());
  m.def("block_rows", block_rows, "level"_a, "x"_a, "w"_a.none(), "b"_a.none(), "dw"_a, "db"_a, "act"_a,
        "depthwise_act"_a, "stride"_a, "dilation"_a, "same"_a, "strip"_a, "out"_a.noconvert(), "sums"_a.noconvert());
  m.def("stem_row", stem_floats, "level"_a, "x"_a, "w"_a, "b"_a, "act"_a, "stride"_a, "same"_a, "out"_a.noconvert());
  m.def("stem_row_bytes", stem_bytes, "level"_a, "x"_a, "table"_a, "w"_a, "b"_a, "act"_a, "stride"_a, "same"_a,
        "out"_a.noconvert());
  m.def("scale", scale, "level"_a, "x"_a.noconvert(), "gate"_a, "act"_a);
  m.def("scale_panel", scale_panel, "level"_a, "out"_a.noconvert(), "w"_a, "gate"_a);
  m.def("mean", mean, "level"_a, "x"_a, "top"_a, "left"_a, "rows"_a, "columns"_a, "out"_a.noconvert());
  m.def("h_sigmoid", h_sigmoid, "level"_a, "x"_a.noconvert());
  m.def("upsample_onto", upsample_onto, "level"_a, "x"_a, "align_corners"_a, "multiply"_a, "act"_a, "out"_a.noconvert());
  m.def("upsample_planes_row", upsample_planes, "level"_a, "x"_a, "align_corners"_a, "out"_a.noconvert());
  m.def("upsample_mask_row", upsample_mask, "level"_a, "x"_a, "used"_a, "align_corners"_a, "out"_a.noconvert());
  m.def("multiply_adds", multiply_adds, "level"_a, "rounds"_a);
}
