// A decode step: one position of each of a few replies, through the layers of a model, as fast as memory can be
// read. Decoding multiplies every matrix with one vector, so each weight is read once and used once, and all
// that matters is that the reading never stops. Hence:
//
// - A step is a list of operations (`Op`), for which a team of threads is woken once.
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

constexpr int SPINS = 4000;                 // turns of waiting awake, about 0.1 ms; waking a thread takes as long
constexpr int64_t SHORTEST_RUN = 16 << 10;  // bytes of weights that are worth being taken at once
constexpr uint64_t SPAN = 1 << 24;          // more than an operation has pieces

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
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

/// What a thread has for itself. `turn` is the number of the operation whose input is in `normed`.
struct Scratch {
  uint64_t turn = 0;
  std::vector<float> normed, scores;
};

/// Threads that carry out steps: the caller's, which leads, and helpers that sleep when there is none for long.
///
/// The leader puts up one operation after another, and all take runs of its pieces. An operation is over when
/// its pieces are done, whoever did them: nobody waits for a helper that sleeps, or whose core somebody else has.
class Team {
 public:
  explicit Team(int size) : size_(size) {
    for (int i = 1; i < size; ++i) std::thread([this] { help(); }).detach();
  }

  void run(const Step& step) {
    const std::lock_guard<std::mutex> alone(mutex_);
    batch_ = step.batch, ids_ = step.ids, positions_ = step.positions;
    steps_.fetch_add(1, std::memory_order_acq_rel);
    steps_.notify_all();
    for (int64_t i = 0; i < step.count; ++i) {
      const int64_t total = put_up(step.ops[i]);
      while (work(scratch_)) {
      }
      for (int turn = 0; done_.load(std::memory_order_acquire) < total; ++turn)
        turn < SPINS ? pause() : std::this_thread::yield();  // perhaps it is our core that the helper needs
    }
  }

 private:
  void help() {
    for (Scratch scratch;;) {
      const int steps = steps_.load(std::memory_order_acquire);
      for (int turn = 0; turn < SPINS; ++turn) {
        if (work(scratch)) turn = 0;
        pause();
      }
      steps_.wait(steps, std::memory_order_acquire);
    }
  }

  /// Make `op` the one on the board, and return how many pieces it has: rows of matrices, or heads of keys.
  int64_t put_up(const Op& op) {
    int64_t total = op.kind == ATTEND ? batch_ * op.kv_heads : op.kind == EMBED ? batch_ : 0, least = 1;
    if (op.kind == PRODUCT) {
      for (int64_t part = 0; part < (op.finish == GATE ? 1 : op.parts); ++part) total += op.rows[part];
      least = std::max<int64_t>(1, SHORTEST_RUN / (op.columns * (op.bfloat16 ? 2 : 4)));
    }
    op_.store(&op, std::memory_order_relaxed);
    total_.store(total, std::memory_order_relaxed);
    least_.store(least, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const uint64_t turn = board_.load(std::memory_order_relaxed) / SPAN + 1;
    board_.store(turn * SPAN + uint64_t(total), std::memory_order_release);
    return total;
  }

  /// Carry out a run of pieces of the operation on the board, and say whether there was one left: long runs
  /// first, short ones at last, so that all end together.
  bool work(Scratch& scratch) {
    uint64_t seen = board_.load(std::memory_order_acquire);
    int64_t left, count;
    do {
      left = int64_t(seen % SPAN);
      if (!left) return false;
      count = std::min(left, std::max(least_.load(std::memory_order_relaxed), left / (2 * size_)));
    } while (!board_.compare_exchange_weak(seen, seen - uint64_t(count), std::memory_order_acq_rel));
    // The operation stays on the board until these pieces are done; before, it could have been another already.
    const int64_t begin = total_.load(std::memory_order_relaxed) - left, end = begin + count;
    const Op& op = *op_.load(std::memory_order_relaxed);
    const uint64_t turn = seen / SPAN;
    op.bfloat16 ? carry_out<BFloat16>(op, turn, begin, end, scratch)
                : carry_out<float>(op, turn, begin, end, scratch);
    done_.fetch_add(count, std::memory_order_acq_rel);
    return true;
  }

  template <class W>
  void carry_out(const Op& op, uint64_t turn, int64_t begin, int64_t end, Scratch& scratch) {
    if (op.kind == EMBED) embed<W>(op, begin, end);
    if (op.kind == PRODUCT) multiply<W>(op, begin, end, input(op, turn, scratch));
    if (op.kind == ATTEND) attend<W>(op, begin, end, scratch);
  }

  template <class W>
  void embed(const Op& op, int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const W* row = static_cast<const W*>(op.weights[0]) + ids_[b] * op.columns;
      std::copy(row, row + op.columns, op.out[0] + b * op.columns);
    }
  }

  /// Return what a product multiplies with. Each thread normalises it for itself, once in an operation.
  const float* input(const Op& op, uint64_t turn, Scratch& scratch) {
    if (!op.norm) return op.in;
    if (scratch.turn != turn) {
      scratch.normed.resize(std::max<size_t>(scratch.normed.size(), batch_ * op.columns));
      for (int64_t b = 0; b < batch_; ++b) {
        const int64_t at = b * op.columns;
        normalise(op.in + at, op.norm, op.eps, op.columns, scratch.normed.data() + at);
      }
      scratch.turn = turn;
    }
    return scratch.normed.data();
  }

  /// Rows [begin, end) of all parts together; each is read once, whatever the batch.
  template <class W>
  void multiply(const Op& op, int64_t begin, int64_t end, const float* x) {
    const int64_t columns = op.columns;
    for (int64_t part = 0, first = 0; first < end; first += op.rows[part++]) {
      const int64_t rows = op.rows[part], last = std::min(end - first, rows);
      const W* matrix = static_cast<const W*>(op.weights[part]);
      const W* second = static_cast<const W*>(op.weights[1]);
      for (int64_t row = std::max<int64_t>(begin - first, 0); row < last; ++row) {
        for (int64_t b = 0; b < batch_; ++b) {
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

  /// Attention of one position over itself and all before it. A piece is a head of keys with its queries.
  template <class W>
  void attend(const Op& op, int64_t begin, int64_t end, Scratch& scratch) {
    const int64_t dim = op.head_dim, half = dim / 2, group = op.heads / op.kv_heads;
    scratch.scores.resize(std::max<size_t>(scratch.scores.size(), op.room + 2 * dim));
    float *scores = scratch.scores.data(), *turned = scores + op.room, *normed = turned + dim;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t position = positions_[piece / op.kv_heads];
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
  Scratch scratch_;  // the leader's
  int64_t batch_ = 0;
  const int64_t *ids_ = nullptr, *positions_ = nullptr;
  std::atomic<int> steps_{0};
  std::atomic<const Op*> op_{nullptr};
  std::atomic<int64_t> total_{0}, least_{1};
  // The operation's number × SPAN + the pieces that are left. In cache lines of their own: all write to these.
  alignas(64) std::atomic<uint64_t> board_{0};
  alignas(64) std::atomic<int64_t> done_{0};
};

}  // namespace

extern "C" void* team_new(int size) { return new Team(size); }

extern "C" void team_run(void* team, const Op* ops, int64_t count, int64_t batch, const int64_t* ids,
                         const int64_t* positions) {
  static_cast<Team*>(team)->run({ops, count, batch, ids, positions});
}
