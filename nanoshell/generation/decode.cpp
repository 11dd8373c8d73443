// A decode step: one position of each of a few replies, through the layers of a model, as fast as memory can be
// read. Decoding multiplies every matrix with one vector, so each weight is read once and used once, and all
// that matters is that the reading never stops. Hence:
//
// - A step is a list of operations (`Op`), carried out by a team of threads that is woken once for the list.
// - Each thread reads long runs of consecutive rows. A processor foresees those; many short runs, or several
//   rows at once, cost a third of the bandwidth.
// - Small sums (norms) are made by every thread for itself, which is cheaper than waiting for one that does it.
//
// The inner loops are plain C++ that compilers turn into vector instructions. Python makes the list: program.py.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace {

/// The upper half of a float's bits.
struct BFloat16 {
  uint16_t bits;

  operator float() const { return __builtin_bit_cast(float, uint32_t(bits) << 16); }
  explicit BFloat16(float value) {  // to the nearest, to even where two are as near
    const uint32_t whole = __builtin_bit_cast(uint32_t, value);
    bits = value != value ? 0x7fc0 : uint16_t((whole + 0x7fff + ((whole >> 16) & 1)) >> 16);
  }
};

enum Kind : int64_t { EMBED, PRODUCT, ATTEND };
enum Finish : int64_t { STORE, ADD, GATE };

/// One operation. Activations are float, (batch, columns) each; weights and caches are float or BFloat16.
struct Op {
  int64_t kind;
  int64_t bfloat16;  // whether weights and caches are BFloat16
  int64_t finish;    // of a product: store it, add it to `out`, or out[0] = silu(first product) × second product
  int64_t columns;   // of the matrices, and of `in`
  int64_t parts;     // matrices of a product
  const float* in;
  const float* norm;  // scale of the RMS norm that `in` goes through first; null for none
  double eps;
  const void* weights[3];
  float* out[3];
  int64_t rows[3];
  // Attention reads queries, keys and values from `out`, and leaves its result where the queries were.
  const float *query_norm, *key_norm;  // null for none
  const float *cos, *sin;              // (positions, head_dim), the sines with the sign of their half
  void *keys, *values;                 // (batch, kv_heads, room, head_dim)
  int64_t heads, kv_heads, head_dim, room;
};

struct Step {
  const Op* ops;
  int64_t count, batch;
  const int64_t *ids, *positions;
};

constexpr int SPINS = 4000;             // turns of waiting awake, about 0.1 ms: waking up a thread takes half of it
constexpr int64_t SHORTEST_RUN = 16 << 10;  // bytes of weights worth being taken at once

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Wait until `value` is no longer `old`: awake for a moment, then asleep, so that others may use the core.
void await_change(std::atomic<int>& value, int old) {
  for (int turn = 0; turn < SPINS; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

template <class W>
inline float dot(const W* weights, const float* x, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += float(weights[i]) * x[i];
  return sum;
}

void normalise(const float* x, const float* weight, double eps, int64_t count, float* out) {
  const float scale = 1 / std::sqrt(dot(x, x, count) / float(count) + float(eps));
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * scale * weight[i];
}

/// Threads that carry out a step together: the caller's, and `size - 1` that sleep between the steps.
class Team {
 public:
  explicit Team(int size) : size_(size) {
    for (int i = 1; i < size; ++i) std::thread([this] { serve(); }).detach();
  }

  void run(const Step& step) {
    const std::lock_guard<std::mutex> alone(mutex_);
    step_ = step;
    taken_.store(0);
    steps_.fetch_add(1, std::memory_order_acq_rel);
    steps_.notify_all();
    work();
  }

 private:
  void serve() {
    for (int done = 0;;) {
      await_change(steps_, done);
      done = steps_.load(std::memory_order_acquire);
      work();
    }
  }

  /// Carry out the list. A thread that comes late finds less to do, and all meet after each operation.
  void work() {
    static thread_local std::vector<float> scratch;
    const Step step = step_;  // the last meeting frees the caller to make the next one
    for (int64_t i = 0; i < step.count; ++i) {
      const Op& op = step.ops[i];
      op.bfloat16 ? carry_out<BFloat16>(op, step, scratch) : carry_out<float>(op, step, scratch);
      meet();
    }
  }

  void meet() {
    const int meeting = meetings_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < size_) return await_change(meetings_, meeting);
    arrived_.store(0, std::memory_order_relaxed);
    taken_.store(0, std::memory_order_relaxed);
    meetings_.store(meeting + 1, std::memory_order_release);
    meetings_.notify_all();
  }

  /// Take the next run [begin, end) of `total` pieces: long ones first, short ones so that all end together.
  bool take(int64_t total, int64_t least, int64_t& begin, int64_t& end) {
    begin = taken_.load(std::memory_order_relaxed);
    do {
      if (begin >= total) return false;
      end = std::min(total, begin + std::max(least, (total - begin) / (2 * size_)));
    } while (!taken_.compare_exchange_weak(begin, end, std::memory_order_relaxed));
    return true;
  }

  template <class W>
  void carry_out(const Op& op, const Step& step, std::vector<float>& scratch) {
    if (op.kind == EMBED) embed<W>(op, step);
    if (op.kind == PRODUCT) multiply<W>(op, step, scratch);
    if (op.kind == ATTEND) attend<W>(op, step, scratch);
  }

  template <class W>
  void embed(const Op& op, const Step& step) {
    for (int64_t row, end; take(step.batch, step.batch, row, end);)
      for (; row < end; ++row) {
        const W* embedding = static_cast<const W*>(op.weights[0]) + step.ids[row] * op.columns;
        std::copy(embedding, embedding + op.columns, op.out[0] + row * op.columns);
      }
  }

  /// The rows of all parts are one sequence to take from; a matrix is read once for all rows of the batch.
  template <class W>
  void multiply(const Op& op, const Step& step, std::vector<float>& scratch) {
    const int64_t columns = op.columns, parts = op.finish == GATE ? 1 : op.parts;
    const float* x = op.in;
    if (op.norm) {
      scratch.resize(std::max<size_t>(scratch.size(), step.batch * columns));
      for (int64_t b = 0; b < step.batch; ++b)
        normalise(op.in + b * columns, op.norm, op.eps, columns, scratch.data() + b * columns);
      x = scratch.data();
    }
    int64_t total = 0;
    for (int64_t part = 0; part < parts; ++part) total += op.rows[part];
    const int64_t least = std::max<int64_t>(1, SHORTEST_RUN / (columns * int64_t(sizeof(W))));
    for (int64_t begin, end; take(total, least, begin, end);) {
      for (int64_t part = 0, first = 0; part < parts; first += op.rows[part++]) {
        const int64_t rows = op.rows[part], last = std::min(end - first, rows);
        const W* matrix = static_cast<const W*>(op.weights[part]);
        const W* second = static_cast<const W*>(op.weights[1]);
        for (int64_t row = std::max<int64_t>(begin - first, 0); row < last; ++row) {
          for (int64_t b = 0; b < step.batch; ++b) {
            const float sum = dot(matrix + row * columns, x + b * columns, columns);
            float& out = op.out[part][b * rows + row];
            if (op.finish == STORE) out = sum;
            if (op.finish == ADD) out += sum;
            if (op.finish == GATE)
              out = sum / (1 + std::exp(-sum)) * dot(second + row * columns, x + b * columns, columns);
          }
        }
      }
    }
  }

  /// Attention of one position over itself and all before it. A piece is a head of keys with its queries.
  template <class W>
  void attend(const Op& op, const Step& step, std::vector<float>& scratch) {
    const int64_t dim = op.head_dim, half = dim / 2, group = op.heads / op.kv_heads;
    scratch.resize(std::max<size_t>(scratch.size(), op.room + 2 * dim));
    float *scores = scratch.data(), *turned = scores + op.room, *normed = turned + dim;
    for (int64_t piece, end; take(step.batch * op.kv_heads, 1, piece, end);) {
      for (; piece < end; ++piece) {
        const int64_t position = step.positions[piece / op.kv_heads];
        const float *cos = op.cos + position * dim, *sin = op.sin + position * dim;
        const auto turn = [&](const float* x, const float* norm) {
          if (norm) normalise(x, norm, op.eps, dim, normed);
          if (norm) x = normed;
          for (int64_t i = 0; i < half; ++i) {
            turned[i] = x[i] * cos[i] + x[i + half] * sin[i];
            turned[i + half] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
          }
        };
        W* keys = static_cast<W*>(op.keys) + piece * op.room * dim;
        W* values = static_cast<W*>(op.values) + piece * op.room * dim;
        turn(op.out[1] + piece * dim, op.key_norm);
        for (int64_t i = 0; i < dim; ++i) {
          keys[position * dim + i] = W(turned[i]);
          values[position * dim + i] = W(op.out[2][piece * dim + i]);
        }
        for (int64_t head = piece * group; head < (piece + 1) * group; ++head) {
          float* query = op.out[0] + head * dim;
          turn(query, op.query_norm);
          mix(turned, keys, values, position + 1, dim, scores, query);
        }
      }
    }
  }

  /// out = softmax(keys · query / √dim) · values over `count` positions.
  template <class W>
  void mix(const float* query, const W* keys, const W* values, int64_t count, int64_t dim, float* scores,
           float* out) {
    const float scale = 1 / std::sqrt(float(dim));
    float largest = -INFINITY, total = 0;
    for (int64_t t = 0; t < count; ++t) {
      scores[t] = dot(keys + t * dim, query, dim) * scale;
      largest = std::max(largest, scores[t]);
    }
    for (int64_t t = 0; t < count; ++t) total += scores[t] = std::exp(scores[t] - largest);
    std::fill(out, out + dim, 0.0f);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t i = 0; i < dim; ++i) out[i] += scores[t] / total * float(values[t * dim + i]);
  }

  const int size_;
  std::mutex mutex_;
  Step step_{};
  // Each in a cache line of its own: threads watch one while others write the next.
  alignas(64) std::atomic<int> steps_{0};
  alignas(64) std::atomic<int> meetings_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int64_t> taken_{0};
};

}  // namespace

extern "C" void* team_new(int size) { return new Team(size); }

extern "C" void team_run(void* team, const Op* ops, int64_t count, int64_t batch, const int64_t* ids,
                         const int64_t* positions) {
  static_cast<Team*>(team)->run({ops, count, batch, ids, positions});
}
