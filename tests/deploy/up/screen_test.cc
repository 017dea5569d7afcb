#include "deploy/up/screen.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace sluice::up {
namespace {

// What a Screen wrote.
template <class Write>
std::string written(ScreenOptions options, Write write) {
  char* text = nullptr;
  size_t size = 0;
  options.out = open_memstream(&text, &size);
  {
    Screen screen(options);
    write(screen);
  }
  std::fclose(options.out);
  const std::string all(text, size);
  std::free(text);
  return all;
}

TEST(Screen, each_line_says_who_said_it) {
  EXPECT_EQ(written({},
                    [](Screen& screen) {
                      screen.status("not seen where there is no terminal");
                      screen.line("router", "routing");
                      screen.line("replica-12", "ready");
                    }),
            "router     | routing\nreplica-12 | ready\n");
}

TEST(Screen, a_status_makes_way_for_lines_and_comes_back) {
  EXPECT_EQ(written({.is_terminal = true},
                    [](Screen& screen) {
                      screen.status("1 ready");
                      screen.line("up", "hello");
                      screen.status("1 ready");  // the same: nothing is written
                    }),
            "1 ready\r\x1b[Kup         | hello\n1 ready\r\x1b[K");
}

TEST(Screen, colours_end_where_the_name_does) {
  const std::string all =
      written({.has_colour = true}, [](Screen& screen) { screen.line("replica-1", "ready"); });
  EXPECT_TRUE(all.ends_with(" |\x1b[0m ready\n")) << all;
  EXPECT_TRUE(all.starts_with("\x1b[")) << all;
}

TEST(Screen, fits_by_characters) {
  EXPECT_EQ(fit("abc", 2), "ab");
  EXPECT_EQ(fit("äöü", 2), "äö");
  EXPECT_EQ(fit("äöü", 3), "äöü");
  EXPECT_EQ(fit("", 3), "");
}

}  // namespace
}  // namespace sluice::up
