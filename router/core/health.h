// Active checks turned into a verdict: `fail_limit` bad ones in a row make a replica unhealthy, `pass_limit`
// good ones make it healthy again; the first good one makes a starting one ready. A value.
#pragma once

namespace sluice::router {

struct HealthOptions {
  int fail_limit = 3;
  int pass_limit = 2;
};

class Health {
 public:
  explicit Health(const HealthOptions& options = {}) : options_(options) {}

  void checked(bool passed) {
    if (passed) {
      failed_ = 0;
      if (++passed_ >= (known_ ? options_.pass_limit : 1)) healthy_ = known_ = true;
    } else {
      passed_ = 0;
      if (++failed_ >= options_.fail_limit) healthy_ = false;
    }
  }
  bool healthy() const { return healthy_; }
  bool known() const { return known_; }  // has it ever passed?

 private:
  HealthOptions options_;
  bool healthy_ = false;
  bool known_ = false;
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace sluice::router
