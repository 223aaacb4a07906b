// What HTTP's headers mean to the cache. All text is borrowed, and may be anything that a client sends.
#pragma once

#include <string.h>

#include "module.h"

typedef struct {
  bool forbidden;   // no-store, no-cache or private
  int64_t max_age;  // seconds, or -1
} Control;

// A `cache-control` header (RFC 9111, 5.2), of a request or of an answer.
Control control_of(Text list, bool request);

// Seconds, at most 2^31 (RFC 9111, 1.2.2); -1 for what is no number.
int64_t seconds_of(Text text);

// Whether `if-none-match` names this etag. The comparison is weak (RFC 9110, 13.1.2).
bool condition_met(Text condition, Text etag);

// Of the codings that the edge has, the one that `accept-encoding` likes best; the smaller result first. Empty
// for none.
Text coding_of(Text accepted);

// Whether a header of an answer is stored with it.
bool is_kept(Text key);

static inline bool same(Text one, Text other) {
  return one.length == other.length && memcmp(one.ptr, other.ptr, one.length) == 0;
}

bool same_word(Text one, Text other);  // whatever their case
