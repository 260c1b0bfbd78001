// The probe text: 1 KiB that tokenizers disagree about when they differ at all.
#include "engine/probe.hpp"

namespace hf::engine {
namespace {

constexpr std::string_view kProbeText =
    "<|im_start|>system\nProbe<|im_end|>\n<s>[INST] x "
    "</s><|endoftext|><|eot_id|><pad><unk>\t\r\n"
    "  four    spaces\t\ttabs\u00a0nbsp\u200bzwsp\u200d\ufeffbom e\u0301 \u00e9 "
    "antidisestablishmentarianism xylophagous Qwghlm zyzzyva 3.14159265358979 0xDEADBEEF "
    "1e-9 007 "
    "for(int i=0;i<n;++i){a[i]^=~b[i]>>1;} // $%&@!? `{}` \"q\" 'x' \\n "
    "日本語の珍しい字：龘靐齉爨 汉字测试麤鱻 한국어 뷁뛟쀍 "
    "Широка Электрификация съёмщик "
    "हिंदी क्षत्रिय ज्ञान தமிழ் "
    "ไทยภาษา ქართული Հայերեն አማርኛ "
    "العربية ﷽ עִבְרִית "
    "🎉🚀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🤷🏽‍♀️ "
    "∀x∈ℝ:⌈x⌉≠−⌊−x⌋ ∮∇×𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ½ ﬁ Ǆ "
    "İı ß ẞ Ω "
    "Ελληνικά ᚠᛇᚻ 𐍈𐌰 ⠓⠑⠇⠇⠕ ꧁꧂ "
    "the quick brown fox jumps over thirteen lazy dogs; pack my box with five dozen "
    "liquor jugs. the quick brown fox jumps over thirteen lazy dogs; pack my box with "
    "five dozen liquor jugs";
static_assert(kProbeText.size() == 1024);

}  // namespace

std::string_view probe_text() {
  return kProbeText;
}

}  // namespace hf::engine
