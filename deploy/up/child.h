// A process of ours: started with a pipe for all it prints, in a process group of its own (a Ctrl-C in the
// terminal is not its business), and killed by the kernel when the thread that started it ends, however that
// ends. So start children on the main thread. Linux.
#pragma once

#include <sys/types.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::up {

struct Command {
  std::string program;  // a path
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;  // set beside what this process has
  std::vector<std::string> without;                // taken out of it
};

class Child {
 public:
  static constexpr size_t kLastLines = 12;
  static constexpr size_t kMaxLine = 8192;  // bytes; a longer one is told in pieces

  // kIo with what the system says.
  static Result<Child> start(const Command& command);
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();  // kills it, and waits for it

  void send(int signal);
  // What it printed since, line by line, without waiting. At its end the last one even if unfinished.
  void read_lines(const std::function<void(std::string_view line)>& line);
  // True once it has ended (and was waited for); all it printed has been told then.
  bool has_ended();
  // "ended with status 1", "was ended by signal 9 (Killed)". Once it has ended.
  std::string fate() const;

  pid_t pid() const { return pid_; }
  int output() const { return output_; }  // to poll; -1: closed
  const std::deque<std::string>& last_lines() const { return last_lines_; }

 private:
  Child(pid_t pid, int output) : pid_(pid), output_(output) {}
  void tell(std::string_view text, const std::function<void(std::string_view)>& line);

  pid_t pid_ = -1;  // -1: moved from
  int output_ = -1;
  int status_ = 0;
  bool ended_ = false;
  std::string partial_;
  std::deque<std::string> last_lines_;
};

}  // namespace sluice::up
