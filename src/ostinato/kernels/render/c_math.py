"""Functions of one number in C99 that a compiler turns into vectors: no branches, and no call where speed counts.

exp, tanh and sigmoid are within some units of the last place, like those of the kernels: x = n log(2) + r, where adding
1.5 * 2^23 rounds to a whole number n, and e^r is a polynomial (Moshier's Cephes, expf.c). NaN and infinities come out
as from PyTorch's functions. PREFIX_ stands for the model's name.
"""

from collections.abc import Iterable, Mapping

_SOURCES: Mapping[str, str] = {
    "shifted": """
/* x / log(2), rounded: the whole number is in the last bits. */
static inline float PREFIX_shifted(float x)
{
    return x * 1.44269504f + 12582912.0f;
}
""",
    "power": """
/* 2^n for -127 < n < 128; infinite for 128 */
static inline float PREFIX_power(int32_t n)
{
    union { uint32_t bits; float value; } u;
    u.bits = (uint32_t)(n + 127) << 23;
    return u.value;
}

static inline int32_t PREFIX_whole(float shifted)
{
    union { float value; int32_t bits; } u;
    u.value = shifted;
    return u.bits - 0x4B400000;
}
""",
    "rest": """
/* e^r - 1 of x = n log(2) + r */
static inline float PREFIX_rest(float x, float shifted)
{
    float n = shifted - 12582912.0f;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
               + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}
""",
    "exp": """
static inline float PREFIX_exp(float x)
{
    float c = x > 89.0f ? 89.0f : x;
    c = c < -104.5f ? -104.5f : c;
    float t = PREFIX_shifted(c);
    int32_t n = PREFIX_whole(t), half = n / 2;
    /* In two steps: 2^n itself may be too large or too small where the result is not. */
    return (PREFIX_rest(c, t) + 1.0f) * PREFIX_power(half) * PREFIX_power(n - half);
}
""",
    "sigmoid": """
static inline float PREFIX_sigmoid(float x)
{
    float c = x > 86.0f ? -86.0f : -x;
    /* Halved, e^-x is in range as long as the result is no denormal; at this limit it is infinite. */
    c = c > 89.41599f ? 89.41599f : c;
    float t = PREFIX_shifted(c);
    return 0.5f / (0.5f + (PREFIX_rest(c, t) + 1.0f) * PREFIX_power(PREFIX_whole(t) - 1));
}
""",
    "tanh": """
/* E / (E + 2) with E = e^2|x| - 1, which is exact to its last places near 0 too */
static inline float PREFIX_tanh(float x)
{
    float size = fabsf(x);
    float c = size > 20.0f ? 20.0f : size;
    c = c + c;
    float t = PREFIX_shifted(c), power = PREFIX_power(PREFIX_whole(t));
    float e = power * PREFIX_rest(c, t) + (power - 1.0f);
    return copysignf(e / (e + 2.0f), x);
}
""",
    "maximum": """
static inline float PREFIX_maximum(float x, float y)
{
    return x > y || x != x ? x : y;
}
""",
    "minimum": """
static inline float PREFIX_minimum(float x, float y)
{
    return x < y || x != x ? x : y;
}
""",
    "relu": """
static inline float PREFIX_relu(float x)
{
    return x < 0.0f ? 0.0f : x;
}
""",
    "sign": """
static inline float PREFIX_sign(float x)
{
    return (float)((x > 0.0f) - (x < 0.0f));
}
""",
    "product": """
/* y [width] = x [depth] * w [depth][width] */
static inline void PREFIX_product(int depth, int width, const float *restrict x, const float *restrict w,
                                  float *restrict y)
{
    int k = 0;
    for (int n = 0; n < width; n++) {
        y[n] = 0.0f;
    }
    /* Four rows at once: y is read and written once for all of them. */
    for (; k + 4 <= depth; k += 4) {
        const float *a = x + k, *b = w + (size_t)k * width;
        for (int n = 0; n < width; n++) {
            y[n] += (a[0] * b[n] + a[1] * b[n + width]) + (a[2] * b[n + 2 * width] + a[3] * b[n + 3 * width]);
        }
    }
    for (; k < depth; k++) {
        for (int n = 0; n < width; n++) {
            y[n] += x[k] * w[(size_t)k * width + n];
        }
    }
}
""",
}
_PARTS = ("shifted", "power", "rest")
_NEEDS: Mapping[str, tuple[str, ...]] = dict.fromkeys(("exp", "sigmoid", "tanh"), _PARTS)
FUNCTIONS = frozenset(_SOURCES).difference(_PARTS)


def functions(names: Iterable[str], prefix: str) -> str:
    """The source of those of FUNCTIONS that are named, and of what they need."""
    wanted = {part for name in names for part in (*_NEEDS.get(name, ()), name)}
    return "".join(text for name, text in _SOURCES.items() if name in wanted).replace("PREFIX", prefix)
