#include "chaos/report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "chaos/report_parts.hpp"

namespace hf::chaos {

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string figure(double value) {
  std::array<char, 32> text{};
  const double size = std::abs(value);
  const bool whole = value == std::round(value) && size < 1e15;
  const int decimals = whole || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  std::string out = text.data();
  const auto digits = out.find('.') == out.npos ? out.size() : out.find('.');
  const std::size_t first = out.starts_with('-') ? 1 : 0;
  for (std::size_t at = digits; at > first + 3; at -= 3) out.insert(at - 3, ",");
  return out;
}

std::string duration_text(double ms) {
  return std::abs(ms) >= 1000 ? figure(ms / 1000) + " s" : figure(ms) + " ms";
}

namespace {

std::string shown(const std::optional<double>& ms) {
  return ms ? duration_text(*ms) : "–";
}

std::string cell(std::string_view text, std::string_view kind = {}) {
  std::string out = "<td";
  if (!kind.empty()) out.append(" class=\"").append(kind).append("\"");
  return out + ">" + escaped(text) + "</td>";
}

std::string row_of(std::initializer_list<std::string_view> names) {
  std::string out = "<tr>";
  for (const auto name : names) out += "<th>" + escaped(name) + "</th>";
  return out + "</tr>\n";
}

std::string page(std::string_view title, std::string_view body) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>";
  out += escaped(title);
  out += "</title>\n<style>\n";
  out += report_style();
  out += "</style>\n</head>\n<body>\n";
  out += body;
  return out + "</body>\n</html>\n";
}

std::string badge(Verdict verdict) {
  const std::string word = to_string(verdict);
  return "<span class=\"badge " + word + "\">" + word + "</span>";
}

std::string counted(const std::map<std::string, std::size_t>& counts) {
  std::string out;
  for (const auto& [name, count] : counts) {
    if (!out.empty()) out += ", ";
    out += figure(static_cast<double>(count)) + " × " + name;
  }
  return out.empty() ? "–" : out;
}

/// One large number with what it is.
std::string tile(std::string_view value, std::string_view name, std::string_view kind = {}) {
  std::string out = "<div class=\"tile ";
  out.append(kind).append("\"><b>").append(escaped(value)).append("</b><span>");
  return out + escaped(name) + "</span></div>\n";
}

std::string tiles(const ChaosResult& result) {
  const auto& f = result.figures;
  const auto number = [](std::size_t n) { return figure(static_cast<double>(n)); };
  std::string out = "<div class=\"tiles\">\n";
  out += tile(number(f.complete) + " / " + number(f.streams), "streams complete",
              f.complete == f.streams ? "good" : "");
  auto others = f.outcomes;
  others.erase("complete");
  if (!others.empty()) out += tile(counted(others), "ended otherwise");
  out += tile(number(f.wrong_tokens), "with a wrong token", f.wrong_tokens == 0 ? "good" : "bad");
  out += tile(number(f.orphans), "struck in mid-answer");
  if (!f.by_mode.empty()) out += tile(counted(f.by_mode), "went on by mode");
  if (f.pause_ms) {
    out += tile(duration_text(f.pause_ms->p50), "pause of the struck, median");
    out += tile(duration_text(f.pause_ms->max), "longest pause");
  }
  if (f.recovery_ms) out += tile(duration_text(*f.recovery_ms), "until the fleet was whole");
  if (f.sheds != 0) out += tile(number(f.sheds), "shed");
  if (!f.errors.empty()) out += tile(counted(f.errors), "errors");
  return out + "</div>\n";
}

std::string head(const ChaosResult& result) {
  std::string out = "<header>\n<h1>" + badge(result.verdict) + " " + escaped(result.scenario);
  out += "</h1>\n";
  if (!result.title.empty()) out += "<p class=\"title\">" + escaped(result.title) + "</p>\n";
  if (!result.inside.empty()) out += "<p class=\"inside\">" + escaped(result.inside) + "</p>\n";
  out += "<p class=\"facts\">";
  std::string engines;
  for (const auto& engine : result.engines) {
    if (!engines.empty()) engines += ", ";
    engines += engine.name + " (" + engine.kind + ", " + engine.dialect + ")";
  }
  const std::array<std::pair<std::string_view, std::string>, 6> facts = {
      {{"", result.form.empty() ? "" : result.form + " form"},
       {"", std::to_string(result.frontends.size()) +
                (result.frontends.size() == 1 ? " frontend, " : " frontends, ") + engines},
       {"ran for ", duration_text(result.duration_ms)},
       {"seed ", std::to_string(result.seed)},
       {"commit ", result.commit},
       {"", result.started_at}}};
  bool first = true;
  for (const auto& [name, value] : facts) {
    if (value.empty()) continue;
    if (!std::exchange(first, false)) out += " · ";
    out += escaped(name) + escaped(value);
  }
  return out + " · <a href=\"index.html\">all scenarios</a></p>\n</header>\n";
}

std::string checks(const ChaosResult& result) {
  std::string out = "<section><h2>Checks</h2>\n<table id=\"checks\">\n";
  out += row_of({"", "check", "wanted", "got", ""});
  for (const auto& check : result.checks) {
    out += check.ok ? "<tr>" : "<tr class=\"failed\">";
    out += cell(check.ok ? "✓" : "✗", check.ok ? "yes" : "no") + cell(check.name) +
           cell(check.want, "num") + cell(check.got, "num") + cell(check.detail, "detail");
    out += "</tr>\n";
  }
  return out + "</table></section>\n";
}

std::string faults(const ChaosResult& result) {
  std::string out = "<section><h2>Faults, and what shows that they took effect</h2>\n";
  out += "<table id=\"faults\">\n" + row_of({"", "fault", "at", "until", "evidence"});
  for (const auto& fault : result.faults) {
    out += fault.verified ? "<tr>" : "<tr class=\"failed\">";
    out += cell(fault.verified ? "✓" : "✗", fault.verified ? "yes" : "no") + cell(fault.name) +
           cell(duration_text(fault.at_ms), "num") + cell(shown(fault.until_ms), "num") +
           cell(fault.evidence.empty() ? "none" : fault.evidence, "detail");
    out += "</tr>\n";
  }
  if (result.faults.empty()) out += "<tr><td></td><td colspan=\"4\">none</td></tr>\n";
  return out + "</table></section>\n";
}

std::string percentiles(const ChaosResult& result) {
  const auto& f = result.figures;
  std::string out = "<section><h2>Percentiles</h2>\n<table id=\"percentiles\">\n";
  out += row_of({"", "p50", "p90", "p99", "max"});
  const auto line = [&out](std::string_view name, const std::optional<Quantiles>& q) {
    out += "<tr><th>" + escaped(name) + "</th>";
    if (!q) {
      out += "<td colspan=\"4\">no sample</td></tr>\n";
      return;
    }
    for (const double ms : {q->p50, q->p90, q->p99, q->max}) out += cell(duration_text(ms), "num");
    out += "</tr>\n";
  };
  line("pause of the struck streams", f.pause_ms);
  line("time to first token", f.ttft_ms);
  line("between tokens", f.itl_ms);
  return out + "</table>\n<div id=\"dists\"></div>\n</section>\n";
}

std::string more(const ChaosResult& result) {
  std::string out;
  if (!result.metrics.empty()) {
    out += "<details><summary>Metrics of the frontends (" + std::to_string(result.metrics.size()) +
           " series)</summary>\n<table class=\"mono\">\n";
    for (const auto& [name, value] : result.metrics) {
      out += "<tr>" + cell(name) + cell(figure(value), "num") + "</tr>\n";
    }
    out += "</table></details>\n";
  }
  if (!result.log.empty()) {
    out += "<details><summary>Log of the runner</summary>\n<pre>";
    for (const auto& line : result.log) out += escaped(line) + "\n";
    out += "</pre></details>\n";
  }
  return out;
}

}  // namespace

std::string render_report(const ChaosResult& result) {
  std::string body = head(result) + tiles(result);
  body +=
      "<section id=\"chart\"><div id=\"bar\"></div><div id=\"plot\"></div>"
      "<noscript><p>The lanes are drawn by a script of this page.</p></noscript></section>\n";
  body += "<div class=\"columns\">" + percentiles(result) + checks(result) + "</div>\n";
  body += faults(result) + more(result);
  body += "<div id=\"tip\" hidden></div>\n<script type=\"application/json\" id=\"data\">";
  body += drawing_data(result) + "</script>\n<script>\n";
  body += report_script();
  body += "</script>\n";
  return page(result.scenario + ": " + to_string(result.verdict), body);
}

namespace {

std::string index_row(const ChaosResult& result) {
  const auto& f = result.figures;
  const auto number = [](std::size_t n) { return figure(static_cast<double>(n)); };
  const auto unverified =
      std::ranges::count_if(result.faults, [](const auto& fault) { return !fault.verified; });
  std::string out = result.verdict == Verdict::kPass ? "<tr>" : "<tr class=\"failed\">";
  out += "<td>" + badge(result.verdict) + "</td><td><a href=\"" + escaped(result.scenario) +
         ".html\">" + escaped(result.scenario) + "</a><div class=\"sub\">" + escaped(result.title) +
         "</div></td>";
  out += cell(number(f.complete) + " / " + number(f.streams), "num") +
         cell(number(f.wrong_tokens), f.wrong_tokens == 0 ? "num" : "num no") +
         cell(number(f.orphans), "num") + cell(counted(f.by_mode));
  const auto q = f.pause_ms;
  out += cell(q ? duration_text(q->p50) : "–", "num") +
         cell(q ? duration_text(q->p99) : "–", "num") +
         cell(q ? duration_text(q->max) : "–", "num") +
         cell(f.ttft_ms ? duration_text(f.ttft_ms->p99) : "–", "num") +
         cell(duration_text(result.duration_ms), "num");
  std::string why;
  for (const auto& check : result.checks) {
    if (check.ok) continue;
    why += (why.empty() ? "" : "; ") + check.name + " " + check.got + ", wanted " + check.want;
  }
  if (unverified > 0) why += (why.empty() ? "" : "; ") + std::string("a fault without effect");
  return out + cell(why, "detail") + "</tr>\n";
}

}  // namespace

std::string render_index(std::span<const ChaosResult> results) {
  std::map<Verdict, std::size_t> verdicts;
  std::size_t streams = 0;
  std::size_t wrong = 0;
  for (const auto& result : results) {
    ++verdicts[result.verdict];
    streams += result.figures.streams;
    wrong += result.figures.wrong_tokens;
  }
  const bool all = verdicts[Verdict::kPass] == results.size();
  std::string body = "<header>\n<h1>" +
                     badge(all                             ? Verdict::kPass
                           : verdicts[Verdict::kFail] != 0 ? Verdict::kFail
                                                           : Verdict::kVoid) +
                     " Fault tests</h1>\n<p class=\"facts\">";
  if (!results.empty()) {
    body += escaped(results.front().form.empty() ? "" : results.front().form + " form · ") +
            "commit " + escaped(results.front().commit) + " · " +
            escaped(results.front().started_at);
  }
  body += "</p>\n</header>\n<div class=\"tiles\">\n";
  for (const auto verdict : {Verdict::kPass, Verdict::kFail, Verdict::kVoid}) {
    const auto count = verdicts[verdict];
    if (count == 0 && verdict != Verdict::kPass) continue;
    body += tile(std::to_string(count) + " / " + std::to_string(results.size()), to_string(verdict),
                 verdict == Verdict::kPass ? "good" : "bad");
  }
  body += tile(figure(static_cast<double>(streams)), "streams");
  body +=
      tile(figure(static_cast<double>(wrong)), "with a wrong token", wrong == 0 ? "good" : "bad");
  body += "</div>\n<section><table id=\"scenarios\">\n" +
          row_of({"", "scenario", "complete", "wrong", "struck", "went on by", "pause p50", "p99",
                  "max", "TTFT p99", "ran for", "why"});
  for (const auto& result : results) body += index_row(result);
  return page("Fault tests", body + "</table></section>\n");
}

}  // namespace hf::chaos
