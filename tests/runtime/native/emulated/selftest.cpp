// native/int8_selftest.cpp for the levels that are compiled with the immintrin.h beside this.
#include <cstdio>

#include "int8_kernels.h"

int test_int8(const hswish::Int8Kernels& kernels);

int main() {
  const hswish::Int8Kernels* const levels[] = {&hswish::avxvnni::int8_table, &hswish::avx512::int8_table,
                                               &hswish::avx512vnni::int8_table, &hswish::avx512vbmi::int8_table};
  for (const auto* level : levels) std::printf("%s: %s\n", level->name, test_int8(*level) ? "FAILED" : "ok");
  return 0;
}
