// CUDA's bfloat16: the upper half of a float, rounded to nearest, ties to even.
#include <cstdint>
#include <cstring>
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float x) {
        uint32_t wide;
        std::memcpy(&wide, &x, 4);
        bits = x != x ? 0x7FC0 : (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16;
    }
    operator float() const {
        uint32_t wide = (uint32_t)bits << 16;
        float x;
        std::memcpy(&x, &wide, 4);
        return x;
    }
};
