// Precedence, errors and the table as a whole.
#include "config/load.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "config/keys.hpp"

namespace hf::config {
namespace {

Sources with_file(const std::string& text) {
  Sources sources;
  sources.file_name = "h.yaml";
  sources.file_text = "engines: [http://a:1]\n" + text;
  return sources;
}

std::string first_problem(const std::string& text) {
  const auto loaded = load(with_file(text));
  return loaded.problems.empty() ? "" : loaded.problems.front();
}

const Setting& setting(const Loaded& loaded, std::string_view name) {
  for (const auto& one : loaded.settings) {
    if (one.name == name) return one;
  }
  std::abort();
}

TEST(ConfigLoad, FlagBeatsVariableBeatsFileBeatsDefault) {
  auto sources = with_file("admission: {hold: 7s}\n");
  EXPECT_EQ(setting(load(with_file("")), "admission.hold").origin, "default");
  EXPECT_EQ(load(sources).options.migration.admission_hold, std::chrono::seconds(7));
  EXPECT_EQ(setting(load(sources), "admission.hold").origin, "h.yaml:2");
  sources.environment["HOLDFAST_ADMISSION_HOLD"] = "8";
  EXPECT_EQ(load(sources).options.migration.admission_hold, std::chrono::seconds(8));
  EXPECT_EQ(setting(load(sources), "admission.hold").origin, "variable HOLDFAST_ADMISSION_HOLD");
  sources.flags["admission.hold"] = "900ms";
  EXPECT_EQ(load(sources).options.migration.admission_hold, std::chrono::milliseconds(900));
  EXPECT_EQ(setting(load(sources), "admission.hold").origin, "flag --admission-hold");
}

TEST(ConfigLoad, EveryKeyTakesItsShownDefaultByFlagVariableAndFile) {
  const auto defaults = load(with_file(""));
  ASSERT_TRUE(defaults.ok());
  for (const auto& key : serve_keys()) {
    if (key.name == "engines" || key.name == "models") continue;
    const auto value = setting(defaults, key.name).value;
    auto sources = with_file("");
    sources.flags[key.name] = value;
    EXPECT_TRUE(load(sources).ok()) << key.name << " flag " << value;
    sources.flags.clear();
    sources.environment[key.variable] = value;
    EXPECT_TRUE(load(sources).ok()) << key.name << " variable " << value;
    const auto loaded = load(with_file(key.name + ": " + (value.empty() ? "''" : value) + "\n"));
    EXPECT_TRUE(loaded.ok()) << key.name << " file " << value << ": " << loaded.problems.front();
    EXPECT_EQ(setting(loaded, key.name).value, value);
    EXPECT_EQ(setting(loaded, key.name).origin, "h.yaml:2") << key.name;
  }
}

TEST(ConfigLoad, EveryKeyRefusesNonsenseInItsPlace) {
  for (const auto& key : serve_keys()) {
    const auto problem = first_problem(key.name + ": {a: {b: c}}\n");
    EXPECT_TRUE(problem.starts_with("h.yaml:")) << key.name << ": " << problem;
  }
}

TEST(ConfigLoad, NamesFollowFromTheKey) {
  std::set<std::string> flags;
  for (const auto& key : serve_keys()) {
    EXPECT_TRUE(flags.insert(key.flag).second) << key.name;
    EXPECT_FALSE(key.help.empty()) << key.name;
    if (key.name == "admission.queue_max") {
      EXPECT_EQ(key.flag, "--admission-queue-max");
      EXPECT_EQ(key.variable, "HOLDFAST_ADMISSION_QUEUE_MAX");
    }
  }
}

TEST(ConfigLoad, UnknownKeyIsAnErrorWithFileLineAndNearestKey) {
  EXPECT_EQ(first_problem("\nadmission:\n  holt: 5s\n"),
            "h.yaml:4: unknown key admission.holt; the nearest is admission.hold");
  EXPECT_EQ(first_problem("admision: {hold: 5s}\n"),
            "h.yaml:2: unknown key admision; the nearest is admission");
  EXPECT_EQ(first_problem("hold: 5s\n"),
            "h.yaml:2: unknown key hold; the nearest is admission.hold");
  EXPECT_EQ(first_problem("zzzzzzzzzz: 5s\n"), "h.yaml:2: unknown key zzzzzzzzzz");
  EXPECT_EQ(first_problem("models: {m: {falback: [x]}}\n"),
            "h.yaml:2: unknown key models.m.falback; the nearest is models.m.fallback");
}

TEST(ConfigLoad, UnknownKeysOnlyWarnWhereAskedTo) {
  const auto loaded = load(with_file("holt: 1\nconfig: {unknown: warn}\n"));
  EXPECT_TRUE(loaded.ok());
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_TRUE(loaded.warnings.front().starts_with("h.yaml:2: unknown key holt"));
  auto sources = with_file("holt: 1\n");
  sources.flags["config.unknown"] = "warn";
  EXPECT_TRUE(load(sources).ok());
}

TEST(ConfigLoad, BadValuesNameThePlaceAndTheRemedy) {
  EXPECT_EQ(first_problem("admission.hold: fast\n"),
            "h.yaml:2: admission.hold: 'fast' is no duration; give seconds, or a number with ms, "
            "s, m or h, as 250ms or 5s");
  EXPECT_EQ(first_problem("data_cores: 65\n"),
            "h.yaml:2: data_cores: 65 is out of range; give 1…64");
  EXPECT_EQ(first_problem("on_disconnect: stay\n"),
            "h.yaml:2: on_disconnect: 'stay'; choose kill | stop | finish");
  EXPECT_EQ(first_problem("limits: 5\n"), "h.yaml:2: limits is a group; give its keys below it");
  EXPECT_NE(first_problem("routing: best\n").find("least-loaded"), std::string::npos);
  EXPECT_NE(first_problem("continuation.modes: [x]\n").find("restart"), std::string::npos);
  EXPECT_NE(first_problem("continuation: {modes: []}\ncontinuation.modes: []\n").find("twice"),
            std::string::npos);
}

TEST(ConfigLoad, AllProblemsAreToldAtOnceInOrderOfLines) {
  auto sources = with_file("holt: 1\ndata_cores: 0\nauth: some\n");
  sources.environment["HOLDFAST_ROUTING"] = "best";
  const auto loaded = load(sources);
  ASSERT_EQ(loaded.problems.size(), 4U);
  EXPECT_TRUE(loaded.problems[0].starts_with("HOLDFAST_ROUTING: ")) << loaded.problems[0];
  for (std::size_t i = 1; i < 4; ++i)
    EXPECT_TRUE(loaded.problems[i].starts_with("h.yaml:" + std::to_string(i + 1)));
}

TEST(ConfigLoad, BothSpellingsOfAVariableMustAgree) {
  Sources sources = with_file("");
  sources.environment["DYN_SYSTEM_PORT"] = "9100";
  auto loaded = load(sources);
  EXPECT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.options.system_port, 9100);
  EXPECT_EQ(setting(loaded, "system_port").origin, "variable DYN_SYSTEM_PORT");
  sources.environment["HOLDFAST_SYSTEM_PORT"] = "9,100";
  EXPECT_TRUE(load(sources).ok());
  sources.environment["HOLDFAST_SYSTEM_PORT"] = "9101";
  loaded = load(sources);
  ASSERT_EQ(loaded.problems.size(), 1U);
  EXPECT_EQ(loaded.problems.front(),
            "HOLDFAST_SYSTEM_PORT=9101 and DYN_SYSTEM_PORT=9100 differ; they mean the same, give "
            "one");
}

TEST(ConfigLoad, TheSixNamesOfTheSourceDocumentAreRead) {
  Sources sources = with_file("");
  sources.environment = {{"DYN_SYSTEM_PORT", "1"},
                         {"DYN_HEALTH_CHECK_ENABLED", "true"},
                         {"DYN_CANARY_WAIT_TIME", "20"},
                         {"DYN_HEALTH_CHECK_REQUEST_TIMEOUT", "4.5"},
                         {"DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD", "0.85"},
                         {"DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD", "10000"}};
  const auto loaded = load(sources);
  ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
  const auto& options = loaded.options;
  EXPECT_EQ(options.system_port, 1);
  EXPECT_TRUE(options.canary.enabled);
  EXPECT_EQ(options.canary.wait_time, std::chrono::seconds(20));
  EXPECT_EQ(options.canary.timeout, std::chrono::milliseconds(4500));
  EXPECT_EQ(options.active_decode_blocks_threshold, 0.85);
  EXPECT_EQ(options.active_prefill_tokens_threshold, 10000);
  for (const auto* name : {"active_decode_blocks_threshold", "active_prefill_tokens_threshold",
                           "canary.enabled", "canary.wait_time", "canary.timeout", "system_port"}) {
    auto flagged = with_file("");
    flagged.flags[name] = "1";
    EXPECT_TRUE(load(flagged).ok()) << name;
    EXPECT_TRUE(load(with_file(std::string(name) + ": 1\n")).ok()) << name;
  }
}

TEST(ConfigLoad, CanaryIsOnInKubernetes) {
  auto sources = with_file("");
  EXPECT_FALSE(load(sources).options.canary.enabled);
  sources.environment["KUBERNETES_SERVICE_HOST"] = "10.0.0.1";
  EXPECT_TRUE(load(sources).options.canary.enabled);
  EXPECT_EQ(setting(load(sources), "canary.enabled").origin, "default in Kubernetes");
  EXPECT_EQ(load(sources).options.lame_duck, std::chrono::seconds(5));
  sources.environment["HOLDFAST_CANARY_ENABLED"] = "off";
  EXPECT_FALSE(load(sources).options.canary.enabled);
}

TEST(ConfigLoad, PassesOverWhatKubernetesSetsForAServiceOfOurName) {
  auto sources = with_file("");
  sources.environment["HOLDFAST_SYSTEM_PORT"] = "tcp://10.0.0.1:9090";
  sources.environment["HOLDFAST_LISTEN"] = "";
  const auto loaded = load(sources);
  EXPECT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.options.system_port, 9090);
  EXPECT_EQ(loaded.options.listen, "127.0.0.1:8000");
}

TEST(ConfigLoad, WarnsOfMistypedVariablesAndOfKeysWithoutEffect) {
  auto sources = with_file("");
  sources.environment["HOLDFAST_ADMISION_HOLD"] = "5";
  sources.environment["HOLDFAST_UNRELATED_THING"] = "5";
  const auto loaded = load(sources);
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_EQ(loaded.warnings.front(),
            "variable HOLDFAST_ADMISION_HOLD is not known; the nearest is HOLDFAST_ADMISSION_HOLD");
  for (const auto& key : serve_keys()) {
    if (key.has_effect || key.type != "true | false") continue;
    EXPECT_EQ(load(with_file(key.name + ": true\n")).warnings.front(),
              key.name + " has no effect yet");
  }
}

TEST(ConfigLoad, EnginesAreUrlsOrMaps) {
  Sources sources;
  sources.file_name = "h.yaml";
  sources.file_text =
      "engines:\n  - http://a:1\n  - {url: http://b:2, api_key_env: B_KEY}\n  - url: http://c\n";
  auto loaded = load(sources);
  ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
  ASSERT_EQ(loaded.options.engines.size(), 3U);
  EXPECT_EQ(loaded.options.engines[1].api_key_env, "B_KEY");
  EXPECT_EQ(loaded.options.engines[2].endpoint.port, 80);
  sources.flags["engines"] = "http://d:4,http://e:5";
  loaded = load(sources);
  ASSERT_EQ(loaded.options.engines.size(), 2U);
  EXPECT_EQ(loaded.options.engines[0].endpoint.host, "d");
}

TEST(ConfigLoad, WrongEnginesAreTold) {
  EXPECT_NE(load(Sources()).problems.front().find("--engine"), std::string::npos);
  for (const auto& [engines, words] : std::vector<std::pair<std::string, std::string>>{
           {"[ftp://x]", "http"},
           {"[http://a:1, http://a:1]", "given twice"},
           {"[http://a:1/v1]", "path prefix"},
           {"[{api_key_env: A}]", "url is missing"},
           {"[{urrl: http://a}]", "nearest is engines[0].url"},
           {"{a: b}", "list"}}) {
    Sources sources;
    sources.file_name = "h.yaml";
    sources.file_text = "engines: " + engines + "\n";
    const auto loaded = load(sources);
    ASSERT_FALSE(loaded.ok()) << engines;
    EXPECT_NE(loaded.problems.front().find(words), std::string::npos) << loaded.problems.front();
  }
}

TEST(ConfigLoad, ModelsHaveSettingsOfTheirOwn) {
  const auto loaded =
      load(with_file("models:\n  org/m-3.1:\n    fallback: [a, b]\n    admission: {hold: 3m}\n"
                     "    token_limit: 5s\n"
                     "  n: {first_token_limit: 2m, continuation: {text: true}}\n"));
  ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
  const auto& model = loaded.options.models.at("org/m-3.1");
  EXPECT_EQ(model.fallback, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(model.admission_hold, std::chrono::minutes(3));
  EXPECT_EQ(model.token_limit, std::chrono::seconds(5));
  EXPECT_FALSE(model.first_token_limit);
  EXPECT_EQ(loaded.options.models.at("n").first_token_limit, std::chrono::minutes(2));
  EXPECT_FALSE(model.text);
  EXPECT_EQ(loaded.options.models.at("n").text, true);
}

TEST(ConfigLoad, AdminIsAnAddressOrAGroup) {
  EXPECT_EQ(load(with_file("admin: 127.0.0.1:7\n")).options.admin, "127.0.0.1:7");
  const auto loaded = load(with_file("admin: {listen: 127.0.0.1:7, token: hush}\n"));
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.options.admin, "127.0.0.1:7");
  EXPECT_EQ(loaded.options.admin_token, "hush");
}

TEST(ConfigLoad, SecretsAreNeverPrinted) {
  auto sources = with_file("admin: {token: hush}\n");
  const auto loaded = load(sources);
  EXPECT_EQ(describe(loaded).find("hush"), std::string::npos);
  EXPECT_NE(describe(loaded).find("(set)"), std::string::npos);
  const auto other = load(with_file("admin: {token: quiet}\n"));
  const auto changes = merge(loaded.options, other.options);
  ASSERT_EQ(changes.needs_restart.size() + changes.applied.size(), 1U);
  EXPECT_EQ(changes.needs_restart.front(), "admin.token");
}

TEST(ConfigMerge, AppliesWhatAReloadMayAndNamesTheRest) {
  const auto before = load(with_file("")).options;
  const auto after =
      load(with_file("admission.hold: 7s\nlisten: 127.0.0.1:1\nmodels: {m: {token_limit: 1s}}\n"))
          .options;
  const auto merged = merge(before, after);
  EXPECT_EQ(merged.options.migration.admission_hold, std::chrono::seconds(7));
  EXPECT_EQ(merged.options.models.size(), 1U);
  EXPECT_EQ(merged.options.listen, before.listen);
  EXPECT_EQ(merged.applied, (std::vector<std::string>{"models:  -> m: token_limit 1s",
                                                      "admission.hold: 5s -> 7s"}));
  EXPECT_EQ(merged.needs_restart,
            (std::vector<std::string>{"listen: 127.0.0.1:8000 -> 127.0.0.1:1"}));
  EXPECT_TRUE(merge(before, before).applied.empty());
}

TEST(ConfigKeys, DocumentIsTheOneThatTheCodeMakes) {
  const std::string path = std::string(HF_SOURCE_DIR) + "/docs/configuration.md";
  const std::string begin = "<!-- keys: generated -->\n";
  const std::string end = "<!-- end of keys -->\n";
  std::ostringstream read;
  read << std::ifstream(path).rdbuf();
  auto text = read.str();
  const auto from = text.find(begin);
  const auto to = text.find(end);
  ASSERT_TRUE(from != std::string::npos && to != std::string::npos);
  const auto expected = text.substr(0, from + begin.size()) + document() + text.substr(to);
  if (std::getenv("HOLDFAST_WRITE_DOCS") != nullptr) {
    std::ofstream(path) << expected;
    text = expected;
  }
  EXPECT_EQ(text, expected) << "run HOLDFAST_WRITE_DOCS=1 build/debug/test_config";
}

}  // namespace
}  // namespace hf::config
