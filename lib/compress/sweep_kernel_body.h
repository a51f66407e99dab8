// The recursion over the columns of a block, for CUPEL_SWEEP_WIDTH floats a vector register. Included
// once for each instruction set, in a namespace of its own; so nothing here may call a function of
// another header that the linker would merge across instruction sets.
//
// A tile is kVectors vectors of rows, column after column, and stays in the first-level cache. Four columns
// at a time take up the errors of all columns before them, in registers; the four among themselves
// one after the other.

constexpr int64_t kWidth = CUPEL_SWEEP_WIDTH;
constexpr int kVectors = 2;  // with one the processor would wait for the treated column
constexpr int64_t kLanes = kVectors * kWidth;
constexpr int64_t kColumns = 4;

typedef float Vector __attribute__((vector_size(4 * kWidth), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * kWidth), may_alias));
typedef float Half __attribute__((vector_size(2 * kWidth), may_alias));
typedef double Wide __attribute__((vector_size(4 * kWidth), may_alias));
typedef float Four __attribute__((vector_size(16), may_alias));
typedef float LooseFour __attribute__((vector_size(16), may_alias, aligned(4)));
typedef float AnyFour __attribute__((vector_size(16), may_alias, aligned(1)));
typedef int32_t FourIntegers __attribute__((vector_size(16), may_alias));

// Of every column of the tile.
struct Tile {
  float* value;      // the weight; once the column is treated, its error
  float* result;     // what became of it
  int32_t* kept;     // -1 = kept, 0 = pruned
  float* code;       // with a grid
  float* score;      // [m], of the group at hand
  int64_t rows = 0;  // that are there; the other lanes hold zeros
};

inline Vector& at(float* of, int64_t column, int part) {
  return *reinterpret_cast<Vector*>(of + column * kLanes + part * kWidth);
}

inline Integers& at(int32_t* of, int64_t column, int part) {
  return *reinterpret_cast<Integers*>(of + column * kLanes + part * kWidth);
}

inline Vector select(Integers which, Vector yes, Vector no) {
  return reinterpret_cast<Vector>((reinterpret_cast<Integers>(yes) & which) |
                                  (reinterpret_cast<Integers>(no) & ~which));
}

// Four rows of four columns the other way round.
inline void transpose(Four* block) {
  const Four a = __builtin_shuffle(block[0], block[1], FourIntegers{0, 4, 1, 5});
  const Four b = __builtin_shuffle(block[2], block[3], FourIntegers{0, 4, 1, 5});
  const Four c = __builtin_shuffle(block[0], block[1], FourIntegers{2, 6, 3, 7});
  const Four d = __builtin_shuffle(block[2], block[3], FourIntegers{2, 6, 3, 7});
  block[0] = __builtin_shuffle(a, b, FourIntegers{0, 1, 4, 5});
  block[1] = __builtin_shuffle(a, b, FourIntegers{2, 3, 6, 7});
  block[2] = __builtin_shuffle(c, d, FourIntegers{0, 1, 4, 5});
  block[3] = __builtin_shuffle(c, d, FourIntegers{2, 3, 6, 7});
}

void load_weights(const SweepRows& from, int64_t row, const Tile& tile) {
  for (int64_t lane = 0; lane < kLanes; lane += 4) {
    const float* rows[4];
    for (int k = 0; k < 4; ++k) {
      // Lanes without a row repeat the last one and are never stored.
      const int64_t there = lane + k < tile.rows ? lane + k : tile.rows - 1;
      rows[k] = from.weight + (row + there) * from.weight_stride;
    }
    int64_t i = 0;
    for (; i + 4 <= from.columns; i += 4) {
      Four block[4];
      for (int k = 0; k < 4; ++k) block[k] = *reinterpret_cast<const LooseFour*>(rows[k] + i);
      transpose(block);
      for (int k = 0; k < 4; ++k) {
        *reinterpret_cast<Four*>(tile.value + (i + k) * kLanes + lane) = block[k];
      }
    }
    for (; i < from.columns; ++i) {
      for (int k = 0; k < 4; ++k) tile.value[i * kLanes + lane + k] = rows[k][i];
    }
  }
}

// original - result, and where there is no room for four rows one weight at a time.
void store_change(const SweepRows& to, int64_t row, const Tile& tile) {
  for (int64_t lane = 0; lane < tile.rows; lane += 4) {
    const float* original = to.original + (row + lane) * to.original_stride;
    float* change = to.change + (row + lane) * to.change_stride;
    const int64_t rows = tile.rows - lane < 4 ? tile.rows - lane : 4;
    int64_t i = 0;
    for (; rows == 4 && i + 4 <= to.columns; i += 4) {
      Four block[4];
      for (int k = 0; k < 4; ++k) {
        block[k] = *reinterpret_cast<const Four*>(tile.result + (i + k) * kLanes + lane);
      }
      transpose(block);
      for (int k = 0; k < 4; ++k) {
        const Four before =
            *reinterpret_cast<const LooseFour*>(original + k * to.original_stride + i);
        *reinterpret_cast<LooseFour*>(change + k * to.change_stride + i) = before - block[k];
      }
    }
    for (; i < to.columns; ++i) {
      for (int64_t k = 0; k < rows; ++k) {
        change[k * to.change_stride + i] =
            original[k * to.original_stride + i] - tile.result[i * kLanes + lane + k];
      }
    }
  }
}

// Sixteen columns of bytes are four words a row, which change between rows and lanes as floats do. The
// first column is the lowest byte of its word.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
constexpr int64_t kBytes = 16;

void load_mask(const SweepRows& from, int64_t row, const Tile& tile) {
  for (int64_t lane = 0; lane < kLanes; lane += 4) {
    const bool* rows[4];
    for (int k = 0; k < 4; ++k) {
      const int64_t there = lane + k < tile.rows ? lane + k : tile.rows - 1;
      rows[k] = from.mask + (row + there) * from.mask_stride;
    }
    int64_t i = 0;
    for (; i + kBytes <= from.columns; i += kBytes) {
      Four block[4];
      for (int k = 0; k < 4; ++k) block[k] = *reinterpret_cast<const AnyFour*>(rows[k] + i);
      transpose(block);
      for (int64_t c = 0; c < kBytes; ++c) {
        const FourIntegers word = reinterpret_cast<FourIntegers>(block[c / 4]);
        const FourIntegers kept = -((word >> static_cast<int>(8 * (c % 4))) & 1);
        *reinterpret_cast<FourIntegers*>(tile.kept + (i + c) * kLanes + lane) = kept;
      }
    }
    for (; i < from.columns; ++i) {
      for (int k = 0; k < 4; ++k)
        tile.kept[i * kLanes + lane + k] = -static_cast<int32_t>(rows[k][i]);
    }
  }
}

// byte(column, part) is what goes to `to`, in the lanes of one vector.
template <typename Byte>
inline void store_bytes(uint8_t* to, int64_t stride, int64_t columns, int64_t rows,
                        const Byte& byte) {
  int64_t i = 0;
  for (; i + kBytes <= columns; i += kBytes) {
    for (int part = 0; part < kVectors; ++part) {
      Integers words[4];
      for (int w = 0; w < 4; ++w) {
        const int64_t c = i + 4 * w;
        words[w] = byte(c, part) | byte(c + 1, part) << 8 | byte(c + 2, part) << 16 |
                   byte(c + 3, part) << 24;
      }
      const float* word = reinterpret_cast<const float*>(words);
      for (int64_t lane = 0; lane < kWidth; lane += 4) {
        Four block[4];
        for (int w = 0; w < 4; ++w) {
          block[w] = *reinterpret_cast<const Four*>(word + w * kWidth + lane);
        }
        transpose(block);
        for (int64_t k = 0; k < 4; ++k) {
          const int64_t there = part * kWidth + lane + k;
          if (there < rows) *reinterpret_cast<AnyFour*>(to + there * stride + i) = block[k];
        }
      }
    }
  }
  for (; i < columns; ++i) {
    for (int64_t there = 0; there < rows; ++there) {
      to[there * stride + i] =
          static_cast<uint8_t>(byte(i, static_cast<int>(there / kWidth))[there % kWidth]);
    }
  }
}

void store_mask(const SweepRows& to, int64_t row, const Tile& tile) {
  uint8_t* mask = reinterpret_cast<uint8_t*>(to.mask + row * to.mask_stride);
  store_bytes(mask, to.mask_stride, to.columns, tile.rows,
              [&](int64_t i, int part) { return at(tile.kept, i, part) & 1; });
}

void store_codes(const SweepRows& to, int64_t row, const Tile& tile) {
  uint8_t* codes = to.codes + row * to.codes_stride;
  store_bytes(codes, to.codes_stride, to.columns, tile.rows, [&](int64_t i, int part) {
    return __builtin_convertvector(at(tile.code, i, part), Integers);
  });
}

// What may be kept before any column is treated.
void begin_mask(const SweepRows& from, int64_t row, const Tile& tile) {
  if (from.mask_given) {
    load_mask(from, row, tile);
  } else {
    for (int64_t i = 0; i < from.columns; ++i) {
      for (int part = 0; part < kVectors; ++part) at(tile.kept, i, part) = Integers{} - 1;
    }
  }
  if (!from.by_threshold) return;
  for (int64_t i = 0; i < from.columns; ++i) {
    for (int part = 0; part < kVectors; ++part) {
      const Integers size = reinterpret_cast<Integers>(at(tile.value, i, part)) & 0x7fffffff;
      const Vector score = reinterpret_cast<Vector>(size) * from.importance[i];
      at(tile.kept, i, part) &= reinterpret_cast<Integers>(score) > from.threshold;
    }
  }
}

// Columns j to j + kCount take up the errors of the columns [from, to).
template <int kCount>
inline void take_up(const SweepRows& rows, const Tile& tile, int64_t from, int64_t to, int64_t j) {
  for (int part = 0; part < kVectors; part += 2) {  // what the registers hold
    Vector sum[kCount][2];
#pragma GCC unroll 4
    for (int c = 0; c < kCount; ++c) {
      sum[c][0] = at(tile.value, j + c, part);
      sum[c][1] = at(tile.value, j + c, part + 1);
    }
    const float* u = rows.inverse + from * rows.columns + j;
    for (int64_t i = from; i < to; ++i, u += rows.columns) {
      const Vector low = at(tile.value, i, part), high = at(tile.value, i, part + 1);
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) {
        sum[c][0] -= low * u[c];
        sum[c][1] -= high * u[c];
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < kCount; ++c) {
      at(tile.value, j + c, part) = sum[c][0];
      at(tile.value, j + c, part + 1) = sum[c][1];
    }
  }
}

void take_up_all(const SweepRows& rows, const Tile& tile, int64_t from, int64_t to, int64_t j,
                 int64_t end) {
  if (from == to) return;
  for (; j + kColumns <= end; j += kColumns) take_up<kColumns>(rows, tile, from, to, j);
  for (; j < end; ++j) take_up<1>(rows, tile, from, to, j);
}

// Prunes m - n of the m columns from `first` on in every lane: those that fewer than m - n others
// have to go before.
void choose(const SweepRows& rows, const Tile& tile, int64_t first) {
  const int64_t m = rows.m;
  const Integers pruned = Integers{} + static_cast<int32_t>(m - rows.n);
  for (int part = 0; part < kVectors; ++part) {
    for (int64_t k = 0; k < m; ++k) {
      const Vector value = at(tile.value, first + k, part);
      const Vector size = reinterpret_cast<Vector>(reinterpret_cast<Integers>(value) & 0x7fffffff);
      at(tile.score, k, part) = select(at(tile.kept, first + k, part),
                                       size * rows.importance[first + k], Vector{} - 1.0f);
    }
    for (int64_t k = 0; k < m; ++k) {
      const Vector score = at(tile.score, k, part);
      Integers before{};
      for (int64_t other = 0; other < m; ++other) {
        const Vector rival = at(tile.score, other, part);
        const bool wins_ties = rows.lower_first ? other < k : other > k;
        before -= wins_ties ? rival <= score : rival < score;
      }
      at(tile.kept, first + k, part) &= ~(before < pruned);
    }
  }
}

// Half to even for |x| < 2^22: the sum has no room for a fraction.
inline Vector round_even(Vector x) {
  const Vector shift = Vector{} + 12582912.0f;  // 1.5 * 2^23
  return (x + shift) - shift;
}

// The scale and the zero point of column i in every lane.
struct LaneGrid {
  alignas(64) float scale[kLanes];
  alignas(64) float zero[kLanes];
  int64_t group = -1;

  void load(const SweepRows& rows, int64_t row, int64_t count, int64_t wanted) {
    if (wanted == group) return;
    group = wanted;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t there = lane < count ? lane : count - 1;
      scale[lane] = rows.scales[(row + there) * rows.scales_stride + group];
      zero[lane] = rows.zeros[(row + there) * rows.scales_stride + group];
    }
  }
};

// Column i: what becomes of its weights, and the error that the next columns take up.
template <bool kGrid, bool kMask>
inline void treat(const SweepRows& rows, const Tile& tile, const LaneGrid& grid, int64_t i) {
  for (int part = 0; part < kVectors; ++part) {
    const Vector value = at(tile.value, i, part);
    Vector result = value;
    if (kGrid) {
      const Vector scale = *reinterpret_cast<const Vector*>(grid.scale + part * kWidth);
      const Vector zero = *reinterpret_cast<const Vector*>(grid.zero + part * kWidth);
      const Vector top = Vector{} + static_cast<float>((1 << rows.bits) - 1);
      const Vector end = Vector{} + 512.0f;
      // Beyond +-512 steps the code is at an end of the grid whatever the zero point.
      Vector steps = value / scale;
      steps = select(steps > -end, steps, -end);
      steps = select(steps < end, steps, end);
      Vector code = round_even(steps) + zero;
      code = select(code > 0.0f, code, Vector{});
      code = select(code < top, code, top);
      if (kMask) code = select(at(tile.kept, i, part), code, zero);
      at(tile.code, i, part) = code;
      result = (code - zero) * scale;
    } else if (kMask) {
      result = reinterpret_cast<Vector>(reinterpret_cast<Integers>(value) & at(tile.kept, i, part));
    }
    at(tile.result, i, part) = result;
    at(tile.value, i, part) = (value - result) * rows.diagonal[i];
  }
}

void add_loss(const SweepRows& rows, int64_t row, const Tile& tile) {
  Wide sum[2 * kVectors] = {};
  for (int64_t i = 0; i < rows.columns; ++i) {
    const Half* error = reinterpret_cast<const Half*>(tile.value + i * kLanes);
    for (int part = 0; part < 2 * kVectors; ++part) {
      const Wide wide = __builtin_convertvector(error[part], Wide);
      sum[part] += wide * wide;
    }
  }
  const double* lanes = reinterpret_cast<const double*>(sum);
  for (int64_t lane = 0; lane < tile.rows; ++lane) rows.loss[row + lane] += lanes[lane];
}

// Asks for what the tile will need when it is stored: it lies far apart and arrives meanwhile.
void fetch(const SweepRows& rows, int64_t row, const Tile& tile) {
  constexpr int64_t kLine = 16;  // floats
  for (int64_t lane = 0; lane < tile.rows; ++lane) {
    const float* original = rows.original + (row + lane) * rows.original_stride;
    const float* change = rows.change + (row + lane) * rows.change_stride;
    for (int64_t i = 0; i < rows.columns; i += kLine) {
      __builtin_prefetch(original + i, 0, 2);
      __builtin_prefetch(change + i, 1, 2);
    }
  }
}

template <bool kGrid, bool kMask>
void run_tile(const SweepRows& rows, int64_t row, const Tile& tile) {
  fetch(rows, row, tile);
  load_weights(rows, row, tile);
  if (kMask) begin_mask(rows, row, tile);
  LaneGrid grid;
  const int64_t step = rows.m > 0 ? rows.m : kColumns;
  for (int64_t first = 0; first < rows.columns; first += step) {
    const int64_t end = first + step < rows.columns ? first + step : rows.columns;
    take_up_all(rows, tile, 0, first, first, end);
    if (kMask && rows.m > 0) choose(rows, tile, first);
    for (int64_t four = first; four < end; four += kColumns) {
      const int64_t last = four + kColumns < end ? four + kColumns : end;
      take_up_all(rows, tile, first, four, four, last);
      for (int64_t i = four; i < last; ++i) {
        take_up_all(rows, tile, four, i, i, i + 1);
        if (kGrid) grid.load(rows, row, tile.rows, rows.group_index[i]);
        treat<kGrid, kMask>(rows, tile, grid, i);
      }
    }
  }
  add_loss(rows, row, tile);
  store_change(rows, row, tile);
  if (kMask) store_mask(rows, row, tile);
  if (kGrid) store_codes(rows, row, tile);
}

void run(const SweepRows& rows) {
  const int64_t part = rows.columns * kLanes;
  const int64_t floats = 4 * part + rows.m * kLanes;
  float* memory = static_cast<float*>(::operator new(floats * sizeof(float), std::align_val_t(64)));
  Tile tile{memory, memory + part, reinterpret_cast<int32_t*>(memory + 2 * part), memory + 3 * part,
            memory + 4 * part};
  for (int64_t row = 0; row < rows.rows; row += kLanes) {
    tile.rows = rows.rows - row < kLanes ? rows.rows - row : kLanes;
    if (rows.bits > 0) {
      rows.mask ? run_tile<true, true>(rows, row, tile) : run_tile<true, false>(rows, row, tile);
    } else {
      rows.mask ? run_tile<false, true>(rows, row, tile) : run_tile<false, false>(rows, row, tile);
    }
  }
  ::operator delete(memory, std::align_val_t(64));
}
