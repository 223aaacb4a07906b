#include "rules.h"

#include <strings.h>

bool same_word(Text one, Text other) {
  return one.length == other.length && strncasecmp(one.ptr, other.ptr, one.length) == 0;
}

static bool starts_with(Text text, Text start) {
  return text.length >= start.length && strncasecmp(text.ptr, start.ptr, start.length) == 0;
}

static Text trimmed(Text text) {
  while (text.length && (*text.ptr == ' ' || *text.ptr == '\t')) text.ptr++, text.length--;
  while (text.length && (text.ptr[text.length - 1] == ' ' || text.ptr[text.length - 1] == '\t')) text.length--;
  return text;
}

// Takes the next element off a list with commas; says false at its end. A quoted comma ends one too, which
// can only make an answer look less fit for the store, or a condition look unmet.
static bool next_of(Text *list, Text *element) {
  if (!list->length) return false;
  const char *comma = memchr(list->ptr, ',', list->length);
  size_t length = comma ? (size_t)(comma - list->ptr) : list->length;
  *element = trimmed((Text){list->ptr, length});
  size_t taken = comma ? length + 1 : length;
  list->ptr += taken;
  list->length -= taken;
  return true;
}

int64_t seconds_of(Text text) {
  int64_t seconds = 0;
  if (!text.length) return -1;
  for (size_t i = 0; i < text.length; i++) {
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return -1;
    seconds = seconds * 10 + (text.ptr[i] - '0');
    if (seconds > INT32_MAX) seconds = INT32_MAX;
  }
  return seconds;
}

Control control_of(Text list, bool request) {
  Control found = {false, -1};
  Text each, max_age = TEXT("max-age="), s_maxage = TEXT("s-maxage=");
  int64_t shared = -1;
  while (next_of(&list, &each)) {
    if (starts_with(each, TEXT("no-store")) || starts_with(each, TEXT("no-cache"))) found.forbidden = true;
    if (!request && starts_with(each, TEXT("private"))) found.forbidden = true;
    if (starts_with(each, max_age))
      found.max_age = seconds_of((Text){each.ptr + max_age.length, each.length - max_age.length});
    if (!request && starts_with(each, s_maxage))
      shared = seconds_of((Text){each.ptr + s_maxage.length, each.length - s_maxage.length});
  }
  if (shared >= 0) found.max_age = shared;
  return found;
}

bool condition_met(Text condition, Text etag) {
  Text each, weak = TEXT("W/");
  if (!etag.length) return false;
  if (starts_with(etag, weak)) etag.ptr += weak.length, etag.length -= weak.length;
  while (next_of(&condition, &each)) {
    if (same(each, TEXT("*"))) return true;
    if (starts_with(each, weak)) each.ptr += weak.length, each.length -= weak.length;
    if (same(each, etag)) return true;
  }
  return false;
}

// A weight of RFC 9110, 12.4.2, in thousandths; what is malformed is 0.
static int weight_of(Text parameter) {
  if (parameter.length < 3 || strncasecmp(parameter.ptr, "q=", 2) || (parameter.ptr[2] | 1) != '1') return 0;
  int weight = (parameter.ptr[2] - '0') * 1000;
  for (size_t i = 4, unit = 100; i < parameter.length && i < 7; i++, unit /= 10) {
    if (parameter.ptr[3] != '.' || parameter.ptr[i] < '0' || parameter.ptr[i] > '9') return 0;
    weight += (parameter.ptr[i] - '0') * (int)unit;
  }
  return weight > 1000 ? 0 : weight;
}

Text coding_of(Text accepted) {
  static const Text known[] = {TEXT("br"), TEXT("zstd"), TEXT("gzip")};
  enum { KNOWN = sizeof known / sizeof *known };
  Text each, best = {"", 0};
  int weights[KNOWN] = {0}, most = 0;
  while (next_of(&accepted, &each)) {
    const char *semicolon = each.length ? memchr(each.ptr, ';', each.length) : NULL;
    size_t length = semicolon ? (size_t)(semicolon - each.ptr) : each.length;
    Text name = trimmed((Text){each.ptr, length});
    int weight = semicolon ? weight_of(trimmed((Text){semicolon + 1, each.length - length - 1})) : 1000;
    for (size_t i = 0; i < KNOWN; i++)
      if (same_word(name, known[i])) weights[i] = weight;
  }
  for (size_t i = 0; i < KNOWN; i++)
    if (weights[i] > most) most = weights[i], best = known[i];
  return best;
}

// Of one connection or one moment only (RFC 9110, 7.6.1), or said again with each answer.
bool is_kept(Text key) {
  static const Text not_kept[] = {TEXT(":status"),    TEXT("connection"),        TEXT("keep-alive"),
                                  TEXT("upgrade"),    TEXT("transfer-encoding"), TEXT("content-length"),
                                  TEXT("age"),        TEXT("date"),              TEXT("x-request-id")};
  for (size_t i = 0; i < sizeof not_kept / sizeof *not_kept; i++)
    if (same(key, not_kept[i])) return false;
  return !starts_with(key, TEXT("grpc-")) && !starts_with(key, TEXT("x-envoy-"));
}
