// See asio_separate.cc.
#include <boost/beast/src.hpp>
