#include "deploy/up/child.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <cerrno>

namespace sluice::up {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Child shell(const std::string& script, std::map<std::string, std::string> environment = {}) {
  auto child = Child::start({.program = "/bin/sh",
                             .arguments = {"-c", script},
                             .environment = std::move(environment),
                             .without = {"SLUICE_TEST_GONE"}});
  EXPECT_TRUE(child.ok());
  return std::move(child).value();
}

std::vector<std::string> lines_until_end(Child& child) {
  std::vector<std::string> lines;
  const auto keep = [&](std::string_view line) { lines.emplace_back(line); };
  while (child.output() >= 0) {
    pollfd waited{.fd = child.output(), .events = POLLIN};
    poll(&waited, 1, 1000);
    child.read_lines(keep);
  }
  while (!child.has_ended()) poll(nullptr, 0, 1);
  return lines;
}

TEST(Child, tells_both_outputs_line_by_line) {
  Child child = shell("echo one; echo two >&2; printf three; exit 3");
  EXPECT_THAT(lines_until_end(child), ElementsAre("one", "two", "three"));
  EXPECT_EQ(child.fate(), "ended with status 3");
  EXPECT_THAT(child.last_lines(), ElementsAre("one", "two", "three"));
}

TEST(Child, keeps_the_last_lines_and_bounds_long_ones) {
  Child child = shell("for i in $(seq 100); do echo $i; done; head -c 100000 /dev/zero | tr '\\0' x");
  const auto lines = lines_until_end(child);
  EXPECT_EQ(child.last_lines().size(), Child::kLastLines);
  size_t bytes = 0;
  for (const std::string& line : lines) {
    EXPECT_LE(line.size(), Child::kMaxLine + 16384);
    bytes += line.starts_with("x") ? line.size() : 0;
  }
  EXPECT_EQ(bytes, 100000U);
}

TEST(Child, has_the_environment_that_it_was_given) {
  setenv("SLUICE_TEST_GONE", "secret", 1);
  Child child = shell("echo $SLUICE_TEST_NEW-$SLUICE_TEST_GONE-", {{"SLUICE_TEST_NEW", "new"}});
  EXPECT_THAT(lines_until_end(child), ElementsAre("new--"));
  unsetenv("SLUICE_TEST_GONE");
}

TEST(Child, is_told_by_signals_and_killed_with_its_owner) {
  pid_t pid = 0;
  {
    Child child = shell("trap 'echo told; exit 0' TERM; echo here; while :; do sleep 0.05; done");
    std::vector<std::string> lines;
    while (lines.empty()) child.read_lines([&](std::string_view line) { lines.emplace_back(line); });
    child.send(SIGTERM);
    EXPECT_THAT(lines_until_end(child), ElementsAre("told"));
    Child other = shell("sleep 1000");
    pid = other.pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Child, a_program_that_is_not_there_says_so) {
  auto child = Child::start({.program = "/nowhere/sluice-serve"});
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(lines_until_end(*child), ElementsAre(HasSubstr("No such file")));
  EXPECT_EQ(child->fate(), "ended with status 127");
}

}  // namespace
}  // namespace sluice::up
