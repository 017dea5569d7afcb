#include "models/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

std::string with_header(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data_bytes, '\0');
}

std::string error_of(const std::string& file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  const std::vector<std::byte> exact(begin, begin + file.size());
  const auto parsed = parse_safetensors(exact, "m.safetensors");
  return parsed.ok() ? "" : parsed.error().message;
}

std::string f32(std::initializer_list<float> values) {
  std::string bytes;
  for (const float value : values) bytes.append(reinterpret_cast<const char*>(&value), 4);
  return bytes;
}

TEST(Safetensors, gives_matrices_as_they_lie_and_vectors_as_f32) {
  const TempFolder folder;
  const uint16_t halves[] = {f32_to_bf16(1.5F), f32_to_bf16(-2.0F)};
  write_file(folder / "model.safetensors",
             safetensors_file({{"m", "F32", {1, 2}, f32({3, 4})},
                               {"v", "BF16", {2}, std::string(reinterpret_cast<const char*>(halves), 4)},
                               {"count", "I64", {}, std::string(8, '\0')}}));
  const auto source = open_safetensors(folder.path());
  ASSERT_TRUE(source.ok()) << source.error().message;
  const auto matrix = (*source)->matrix("m", 1, 2);
  ASSERT_TRUE(matrix.ok());
  float second;
  std::memcpy(&second, matrix->bytes + 4, 4);
  EXPECT_EQ(second, 4.0F);
  float both[2] = {};
  ASSERT_EQ(matrix->file.path, folder / "model.safetensors");
  ASSERT_TRUE(copy_rows(*matrix, 0, 1, reinterpret_cast<std::byte*>(both)).ok()) << "from the file";
  EXPECT_EQ(both[1], 4.0F);
  const auto vector = (*source)->vector("v", 2);
  ASSERT_TRUE(vector.ok());
  EXPECT_EQ(*vector, (std::vector<float>{1.5F, -2.0F}));
  const auto integers = (*source)->vector("count", 1);
  ASSERT_FALSE(integers.ok());
  EXPECT_NE(integers.error().message.find("I64"), std::string::npos);
  EXPECT_EQ((*source)->total_bytes(), 12U);
}

TEST(Safetensors, weights_at_odd_addresses_are_moved_to_even_ones) {
  const TempFolder folder;
  write_file(folder / "model.safetensors",
             with_header(R"({"m":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]} })", 0) + f32({3, 4}));
  const auto source = open_safetensors(folder.path());
  ASSERT_TRUE(source.ok()) << source.error().message;
  const auto matrix = (*source)->matrix("m", 1, 2);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(matrix->bytes) % 4, 0U);
  EXPECT_EQ(reinterpret_cast<const float*>(matrix->bytes)[1], 4.0F);
}

TEST(Safetensors, refuses_headers_that_cannot_be) {
  const auto entry = [](const std::string& body, size_t data = 64) {
    return error_of(with_header("{\"a\":" + body + "}", data));
  };
  EXPECT_EQ(entry(R"({"dtype":"F32","shape":[4,4],"data_offsets":[0,64]})"), "");
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[4,4],"data_offsets":[0,68]})", 68), "");  // more than the shape
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[4,4],"data_offsets":[64,0]})"), "");      // backwards
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[4,4],"data_offsets":[16,80]})"), "");     // beyond the end
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[-4,4],"data_offsets":[0,64]})"), "");
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,64]})"), "");
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"),
            "");  // * 4 is 0 in 64 bits
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[16.0],"data_offsets":[0,64]})"), "");
  EXPECT_NE(entry(R"({"dtype":1,"shape":[16],"data_offsets":[0,64]})"), "");
  EXPECT_NE(entry(R"({"dtype":"F32","shape":[16],"data_offsets":[0,18446744073709551615]})"), "");
  EXPECT_NE(entry(R"([])"), "");
  EXPECT_NE(
      entry(
          R"({"dtype":"F32","shape":[16],"data_offsets":[0,64]},)"
                  R"("a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]})"),
      "");
  EXPECT_NE(
      entry(
          R"({"dtype":"F32","shape":[16],"data_offsets":[0,64]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[60,64]})"),
      "");
  EXPECT_NE(error_of(with_header(std::string(100000, '['), 0)).find("deeper"), std::string::npos);
  EXPECT_NE(error_of(with_header("[]", 0)), "");
  EXPECT_NE(error_of(""), "");
  EXPECT_NE(error_of("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "");
}

TEST(Safetensors, an_index_may_not_name_files_outside_the_directory) {
  for (const char* name : {"../model.safetensors", "/etc/x.safetensors", "a/b.safetensors", ".safetensors",
                           ".hidden.safetensors", "model.bin", "", "a\\\\b.safetensors"}) {
    const auto index =
        parse_safetensors_index("{\"weight_map\":{\"t\":\"" + std::string(name) + "\"}}", "index.json");
    EXPECT_FALSE(index.ok()) << name;
  }
  const auto index = parse_safetensors_index(
      R"({"weight_map":{"t":"b.safetensors","u":"a.safetensors","v":"b.safetensors"}})", "i");
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(index->shards, (std::vector<std::string>{"a.safetensors", "b.safetensors"}));
  EXPECT_FALSE(parse_safetensors_index(R"({"weight_map":{}})", "i").ok());
  EXPECT_FALSE(parse_safetensors_index(R"({"weight_map":{"t":7}})", "i").ok());
  EXPECT_FALSE(parse_safetensors_index(R"([])", "i").ok());
}

TEST(Safetensors, a_tensor_that_the_index_promises_must_be_there_and_only_once) {
  const TempFolder folder;
  write_file(folder / "a.safetensors", safetensors_file({{"t", "F32", {1}, f32({1})}}));
  write_file(folder / "b.safetensors", safetensors_file({{"u", "F32", {1}, f32({1})}}));
  write_file(folder / "model.safetensors.index.json",
             R"({"weight_map":{"t":"a.safetensors","u":"b.safetensors"}})");
  EXPECT_TRUE(open_safetensors(folder.path()).ok());
  write_file(folder / "b.safetensors", safetensors_file({{"t", "F32", {1}, f32({1})}}));
  EXPECT_NE(open_safetensors(folder.path()).error().message.find("in two files"), std::string::npos);
  write_file(folder / "b.safetensors", safetensors_file({{"w", "F32", {1}, f32({1})}}));
  EXPECT_NE(open_safetensors(folder.path()).error().message.find("lists tensor 'u'"), std::string::npos);
  std::filesystem::remove(folder / "b.safetensors");
  EXPECT_EQ(open_safetensors(folder.path()).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace sluice
