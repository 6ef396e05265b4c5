// Python's view of the training kernels; all checks of arguments. Arrays are channels last: (N, H, W, C).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "../levels.h"
#include "../threads.h"
#include "kernels.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace hswish;
using namespace hswish::training;

typedef nb::ndarray<nb::c_contig, nb::device::cpu> Array;  // float32 or bfloat16
typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Numbers;
typedef nb::ndarray<double, nb::c_contig, nb::device::cpu> Sums;

static const training::Kernels& kernels_of(const std::string& name) {
  const Level& found = level(name);  // refuses what this processor cannot run
  const std::string plain = found.kernels->name;
#if defined(__x86_64__)
  if (found.bf16) return avx512bf16::training::table;  // the processor rounds to halves by itself
  for (const auto* table : {&generic::training::table, &avx2::training::table, &avx512::training::table})
#elif defined(__aarch64__)
  for (const auto* table : {&generic::training::table, &neon::training::table})
#else
  for (const auto* table : {&generic::training::table})
#endif
    if (plain == table->name) return *table;
  throw std::invalid_argument("no training kernels for " + name);
}

static bool is_half(const Array& array) {
  const auto type = array.dtype();
  const bool half = type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat) && type.bits == 16;
  require(half || type == nb::dtype<float>(), "training kernels take float32 or bfloat16");
  return half;
}

static bool one_type(const Array& a, const Array& b) {
  require(is_half(a) == is_half(b), "arrays of one type");
  return is_half(a);
}

static long size(const Array& array, size_t axis) { return static_cast<long>(array.shape(axis)); }

class Trainer {
 public:
  Trainer(const std::string& level, int threads) : kernels_(kernels_of(level)), threads_(count(threads)) {}

  const char* name() const { return kernels_.name; }

  void depthwise(Array x, Numbers weights, Array out, long stride, long dilation, long padding) {
    const Window w = window(x, weights, out, stride, dilation, padding);
    launch(kernels_.depthwise, one_type(x, out), w, x.data(), weights.data(), out.data());
  }

  void depthwise_input(Array gradient, Numbers weights, Array out, long stride, long dilation, long padding) {
    const Window w = window(out, weights, gradient, stride, dilation, padding);
    launch(kernels_.depthwise_input, one_type(gradient, out), w, gradient.data(), weights.data(), out.data());
  }

  void depthwise_weights(Array gradient, Array x, Numbers out, long stride, long dilation, long padding) {
    const Window w = window(x, out, gradient, stride, dilation, padding);
    launch(kernels_.depthwise_weights, one_type(gradient, x), w, gradient.data(), x.data(), out.data());
  }

  void moments(Array x, Sums sums) {
    const long channels = rows_of(x);
    require(sums.size() == static_cast<size_t>(2 * channels), "sums are (2, C)");
    launch(kernels_.moments, is_half(x), x.size() / channels, channels, x.data(), sums.data());
  }

  void affine(Array x, Numbers scale, Numbers shift, int act, Array out) {
    const Affine op = affine_op(x, scale, shift, act);
    require(out.size() == x.size(), "as many results as numbers");
    launch(kernels_.affine, one_type(x, out), op, x.data(), out.data());
  }

  void affine_sums(Array gradient, Array x, Numbers scale, Numbers shift, int act, Sums sums) {
    const Affine op = affine_op(x, scale, shift, act);
    require(gradient.size() == x.size() && sums.size() == static_cast<size_t>(2 * op.channels), "sums are (2, C)");
    launch(kernels_.affine_sums, one_type(gradient, x), op, gradient.data(), x.data(), sums.data());
  }

  void affine_input(Array gradient, Array x, Numbers scale, Numbers shift, int act, Numbers slope, Numbers offset,
                    Array out) {
    const Affine op = affine_op(x, scale, shift, act);
    require(gradient.size() == x.size() && out.size() == x.size(), "as many results as numbers");
    for (const Numbers& row : {slope, offset}) require(static_cast<long>(row.size()) == op.channels, "one number a channel");
    launch(kernels_.affine_input, one_type(gradient, x) && one_type(out, x), op, gradient.data(), x.data(), slope.data(),
           offset.data(), out.data());
  }

  void picture_sums(Array x, Numbers sums) {
    launch(kernels_.picture_sums, is_half(x), pictures_of(x, sums), x.data(), sums.data());
  }

  void picture_products(Array gradient, Array x, Numbers sums) {
    require(gradient.size() == x.size(), "as many gradients as numbers");
    launch(kernels_.picture_products, one_type(gradient, x), pictures_of(x, sums), gradient.data(), x.data(), sums.data());
  }

  void gate(Array x, Numbers gates, Numbers offsets, Array out) {
    require(out.size() == x.size() && offsets.size() == gates.size(), "as many results as numbers");
    launch(kernels_.gate, one_type(x, out), pictures_of(x, gates), x.data(), gates.data(), offsets.data(), out.data());
  }

 private:
  static int count(int threads) {
    require(threads >= 1 && threads <= 256, "1 to 256 threads");
    return threads;
  }

  // One at a time, and Python goes on meanwhile.
  template <class Kernel, class... Arguments>
  void launch(Kernel kernel, bool half, Arguments... arguments) {
    nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> alone(threads_.running);
    kernel(Loop{&threads_, run}, half, arguments...);
  }

  static void run(void* threads, long count, void (*call)(const void*, long), const void* work) {
    static_cast<Threads*>(threads)->parallel(count, [&](long index, int) { call(work, index); });
  }

  static Window window(const Array& x, const Numbers& weights, const Array& out, long stride, long dilation, long padding) {
    require(x.ndim() == 4 && out.ndim() == 4 && size(x, 0) == size(out, 0) && size(x, 3) == size(out, 3),
            "maps are (N, H, W, C)");
    Window w{size(x, 0), size(x, 3), size(x, 1), size(x, 2), 0, stride, dilation, padding, size(out, 1), size(out, 2)};
    require(w.channels % 8 == 0 && w.channels > 0, "channels are a multiple of 8");
    w.kernel = weights.size() == static_cast<size_t>(9 * w.channels) ? 3 : 5;
    require(weights.size() == static_cast<size_t>(w.kernel * w.kernel * w.channels), "weights are (C, k, k), k 3 or 5");
    require((stride == 1 && dilation >= 1 && dilation <= 64) || (stride == 2 && dilation == 1), "stride 1, or 2 undilated");
    const long reach = (w.kernel - 1) * dilation;
    require(padding >= 0 && padding <= reach, "padding within the window");
    for (const auto [in, made] : {std::pair(w.height, w.out_height), std::pair(w.width, w.out_width)})
      require(in + 2 * padding > reach && made == (in + 2 * padding - reach - 1) / stride + 1, "the size of the answer");
    return w;
  }

  static long rows_of(const Array& x) {
    require(x.ndim() == 4 && x.size() > 0 && size(x, 3) % 8 == 0, "maps are (N, H, W, C), C a multiple of 8");
    return size(x, 3);
  }

  static Pictures pictures_of(const Array& x, const Numbers& rows) {
    const long channels = rows_of(x);
    require(x.ndim() == 4 && rows.size() == static_cast<size_t>(size(x, 0) * channels), "one number a picture and channel");
    return {size(x, 0), size(x, 1) * size(x, 2), channels};
  }

  static Affine affine_op(const Array& x, const Numbers& scale, const Numbers& shift, int act) {
    const long channels = rows_of(x);
    for (const Numbers& row : {scale, shift}) require(static_cast<long>(row.size()) == channels, "one number a channel");
    require(act >= 0 && act <= 2, "act is 0 (none), 1 (ReLU) or 2 (h-swish)");
    return {static_cast<Act>(act), static_cast<long>(x.size()) / channels, channels, scale.data(), shift.data()};
  }

  const training::Kernels& kernels_;
  Threads threads_;
};

void bind_training(nb::module_ m) {
  const char *stride = "stride", *dilation = "dilation", *padding = "padding";
  nb::class_<Trainer>(m, "TrainingKernels")
      .def(nb::init<const std::string&, int>(), "level"_a, "threads"_a)
      .def_prop_ro("name", &Trainer::name)
      .def("depthwise", &Trainer::depthwise, "x"_a.noconvert(), "weights"_a.noconvert(), "out"_a.noconvert(),
           nb::arg(stride), nb::arg(dilation), nb::arg(padding))
      .def("depthwise_input", &Trainer::depthwise_input, "gradient"_a.noconvert(), "weights"_a.noconvert(),
           "out"_a.noconvert(), nb::arg(stride), nb::arg(dilation), nb::arg(padding))
      .def("depthwise_weights", &Trainer::depthwise_weights, "gradient"_a.noconvert(), "x"_a.noconvert(),
           "out"_a.noconvert(), nb::arg(stride), nb::arg(dilation), nb::arg(padding))
      .def("moments", &Trainer::moments, "x"_a.noconvert(), "sums"_a.noconvert())
      .def("affine", &Trainer::affine, "x"_a.noconvert(), "scale"_a.noconvert(), "shift"_a.noconvert(), "act"_a,
           "out"_a.noconvert())
      .def("affine_sums", &Trainer::affine_sums, "gradient"_a.noconvert(), "x"_a.noconvert(), "scale"_a.noconvert(),
           "shift"_a.noconvert(), "act"_a, "sums"_a.noconvert())
      .def("affine_input", &Trainer::affine_input, "gradient"_a.noconvert(), "x"_a.noconvert(), "scale"_a.noconvert(),
           "shift"_a.noconvert(), "act"_a, "slope"_a.noconvert(), "offset"_a.noconvert(), "out"_a.noconvert())
      .def("picture_sums", &Trainer::picture_sums, "x"_a.noconvert(), "sums"_a.noconvert())
      .def("picture_products", &Trainer::picture_products, "gradient"_a.noconvert(), "x"_a.noconvert(),
           "sums"_a.noconvert())
      .def("gate", &Trainer::gate, "x"_a.noconvert(), "gates"_a.noconvert(), "offsets"_a.noconvert(),
           "out"_a.noconvert());
}
