#include "bench/serve/lexicon.h"

#include "bench/serve/random.h"
#include "server/wire/json_out.h"

namespace sluice::bench {
namespace {

// Frequent enough to be single tokens in most vocabularies; short ones among them for small vocabularies.
constexpr std::string_view kWords =
    "the of and to in is it you that he was for on are with as his they be at one have this from or had by "
    "hot "
    "but some what there we can out other were all your when up use word how said an each she which do their "
    "time if will way about many then them would write like so these her long make thing see him two has "
    "look "
    "more day could go come did my sound no most number who over know water than call first people may down "
    "side been now find any new work part take get place made live where after back little only round man "
    "year "
    "came show every good me give our under name very through just form much great think say help low line "
    "before turn cause same mean differ move right boy old too does tell sentence set three want air well "
    "also "
    "play small end put home read hand port large spell add even land here must big high such follow act why "
    "ask men change went light kind off need house picture try us again animal point mother world near build "
    "self earth father head stand own page should country found answer school grow study still learn plant "
    "cover food sun four thought let keep eye never last door between city tree cross since hard start might "
    "story saw far sea draw left late run while press close night real life few stop open seem together next "
    "white children begin got walk example ease paper often always music those both mark book letter until "
    "mile river car feet care second group carry took rain eat room friend began idea fish mountain north "
    "once "
    "base hear horse cut sure watch color face wood main enough plain girl usual young ready above ever red "
    "list though feel talk bird soon body dog family direct pose leave song measure state product black "
    "short "
    "class wind question happen complete ship area half rock order fire south problem piece told knew pass "
    "farm top whole king size heard best hour better true during hundred remember step early hold west "
    "ground "
    "interest reach fast five sing listen six table travel less morning ten simple several toward war lay "
    "against pattern slow center love person money serve appear road map science rule govern pull cold "
    "notice "
    "voice fall power town fine certain fly unit lead cry dark machine note wait plan figure star box noun "
    "field rest correct able pound done beauty drive stood contain front teach week final gave green oh "
    "quick "
    "develop sleep warm free minute strong special mind behind clear tail produce fact street inch lot "
    "nothing "
    "course stay wheel full force blue object decide surface deep moon island foot yet busy test record boat "
    "common gold possible plane age dry wonder laugh thousand ago ran check game shape yes cool miss brought "
    "heat snow bed bring sit perhaps fill east weight language among";
constexpr size_t kFewest = 32;  // below that, prompts would be too much alike
constexpr uint32_t kTrialTokens = 1000;

// The simulated tokenizer's own words have this shape.
constexpr std::string_view kSyllabic =
    "kobe zaro tuni mela pofu vide sagu rotu lami neko bapu dovi gira jute";

void split_words(std::string_view text, std::vector<std::string_view>& words) {
  while (!text.empty()) {
    const size_t space = text.find(' ');
    words.push_back(text.substr(0, space));
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
  }
}

const std::vector<std::string_view>& all_words() {
  static const std::vector<std::string_view> words = [] {
    std::vector<std::string_view> made;
    split_words(kWords, made);
    split_words(kSyllabic, made);
    return made;
  }();
  return words;
}

}  // namespace

Lexicon::Lexicon() : words_(all_words()) {}

std::vector<std::string_view> Lexicon::candidates() {
  return all_words();
}

std::string Lexicon::doubled_words(std::span<const std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) {
    for (int twice = 0; twice < 2; ++twice) text.append(" ").append(word);
  }
  return text;
}

std::optional<Lexicon> Lexicon::from_doubled(std::span<const int32_t> ids) {
  constexpr size_t kMostPieces = 16;  // of one word
  Lexicon lexicon;
  lexicon.words_.clear();
  size_t at = 0;
  for (const std::string_view word : all_words()) {
    size_t pieces = 1;
    const auto repeats = [&] {
      if (at + 2 * pieces > ids.size()) return false;
      return std::equal(ids.begin() + static_cast<long>(at), ids.begin() + static_cast<long>(at + pieces),
                        ids.begin() + static_cast<long>(at + pieces));
    };
    while (pieces <= kMostPieces && !repeats()) ++pieces;
    if (pieces > kMostPieces) return std::nullopt;
    if (pieces == 1) {
      lexicon.words_.push_back(word);
      lexicon.ids_.push_back(ids[at]);
    }
    at += 2 * pieces;
  }
  if (at != ids.size() || lexicon.words_.size() < kFewest) return std::nullopt;
  return lexicon;
}

void Lexicon::append_words(const Piece& piece, std::string& out) const {
  Random random(piece.seed);
  for (uint32_t i = 0; i < piece.tokens; ++i) out.append(" ").append(words_[random.below(words_.size())]);
}

void Lexicon::append_ids(const Piece& piece, std::string& out) const {
  Random random(piece.seed);
  for (uint32_t i = 0; i < piece.tokens; ++i) {
    if (i > 0) out += ',';
    append_json(out, int64_t{ids_[random.below(ids_.size())]});
  }
}

Result<Lexicon> fit_lexicon(const AskTokens& ask) {
  SLUICE_ASSIGN(const auto ids, ask({.text = Lexicon::doubled_words(all_words())}));
  auto lexicon = Lexicon::from_doubled(ids);
  if (!lexicon) return Error{ErrorCode::kUnsupported, "its tokenizer has too few words of one token."};
  TokenQuestion trial;
  lexicon->append_words({.seed = 1, .tokens = kTrialTokens}, trial.text);
  SLUICE_ASSIGN(const auto plain, ask(trial));
  if (plain.size() != kTrialTokens)
    return Error{ErrorCode::kUnsupported, "its tokenizer joins words that stand side by side."};
  trial.adds_special = true;
  SLUICE_ASSIGN(const auto begun, ask(trial));
  if (begun.size() >= kTrialTokens)
    lexicon->plain_overhead = static_cast<uint32_t>(begun.size()) - kTrialTokens;
  trial.is_chat = true;
  // A model without a chat template has no chat either: nothing to count.
  if (const auto chat = ask(trial); chat.ok() && chat->size() >= kTrialTokens)
    lexicon->chat_overhead = static_cast<uint32_t>(chat->size()) - kTrialTokens;
  return std::move(*lexicon);
}

}  // namespace sluice::bench
