#include "wire/multipart.hpp"

#include <gtest/gtest.h>

namespace hf::wire {
namespace {

constexpr std::string_view kForm =
    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n"
    "--B\r\ncontent-disposition: form-data; name=file; filename=\"a \\\"b\\\".wav\"\r\n"
    "Content-Type: audio/wav\r\n\r\n\r\n--Bx\r\nbinary\r\n"
    "--B\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--B--\r\n";

TEST(Multipart, FindsPartsByNameAndLeavesTheirBytesAlone) {
  // A line that only begins like the boundary is content to a sloppy reader and a delimiter to
  // another: refused.
  EXPECT_FALSE(multipart_parts(kForm, "B"));
  std::string form(kForm);
  form.replace(form.find("--Bx"), 4, "--Cx");
  const auto parts = multipart_parts(form, "B");
  ASSERT_TRUE(parts) << parts.error().detail;
  ASSERT_EQ(parts->size(), 3U);
  EXPECT_EQ((*parts)[0].name, "model");
  EXPECT_EQ((*parts)[0].content, "whisper");
  EXPECT_FALSE((*parts)[0].is_file);
  EXPECT_EQ((*parts)[1].name, "file");
  EXPECT_TRUE((*parts)[1].is_file);
  EXPECT_TRUE((*parts)[1].content.starts_with("\r\n--Cx"));
  EXPECT_EQ((*parts)[2].name, "empty");
  EXPECT_EQ((*parts)[2].content, "");
}

TEST(Multipart, ReadsTheBoundary) {
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(multipart_boundary("Multipart/Form-Data;charset=x; Boundary=\"a;b c\""), "a;b c");
  for (const auto* bad :
       {"", "application/json", "multipart/mixed; boundary=a", "multipart/form-data",
        "multipart/form-data; boundary=", "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a", "multipart/form-data; boundary"}) {
    EXPECT_FALSE(multipart_boundary(bad)) << bad;
  }
  EXPECT_FALSE(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'a')));
}

TEST(Multipart, RefusesWhatIsCutOrAmbiguous) {
  const std::string part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx";
  EXPECT_TRUE(multipart_parts(part + "\r\n--B--", "B"));
  for (const std::string& bad :
       {std::string(), std::string("x"), part, part + "\r\n", part + "\r\n--B",
        std::string("--B\r\n\r\nx\r\n--B--"),
        std::string("--B\r\nContent-Type: a\r\n\r\nx\r\n--B--"),
        std::string("--B\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--B--"),
        std::string("--B\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nx\r\n--B--")}) {
    EXPECT_FALSE(multipart_parts(bad, "B")) << bad;
  }
}

TEST(Multipart, BoundsTheNumberOfParts) {
  std::string form;
  for (std::size_t i = 0; i <= kPartsMax; ++i) {
    form += "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
  }
  const auto parts = multipart_parts(form + "--B--", "B");
  ASSERT_FALSE(parts);
  EXPECT_EQ(parts.error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace hf::wire
