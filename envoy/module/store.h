// Answers by key, for all worker threads, within a bound: what was not asked for the longest goes
// first. Times are milliseconds of a clock that never goes back.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Answer Answer;

// What a filter reads of an answer. Nobody changes it once it is stored.
typedef struct {
  const char *head;  // the headers, as `filter.c` packs them
  size_t head_bytes;
  const char *body;
  size_t body_bytes;
  int64_t born_at;  // when the answer was made; its age counts from here
  int64_t fresh_until;
  uint32_t status;
  bool for_all_codings;  // no client needs another one
} Content;

typedef struct {
  uint64_t answers;
  uint64_t bytes;
} StoreState;

// Sets the bound, and keeps to it at once. Every byte counts, keys and bookkeeping too.
void store_limit(size_t max_bytes, size_t max_answers);

// The largest answer that is stored: a sixteenth of all bytes, so that one does not drive out all others.
size_t store_largest(void);

// The answer of this key that is fresh at `now`, or NULL. It stays valid until it is released.
Answer *store_find(const char *key, size_t key_bytes, int64_t now);
const Content *answer_content(const Answer *answer);
void answer_release(Answer *answer);

// Stores a copy in place of what was there, and tells how many other answers had to go for it. Says false if it
// is too large or there is no memory.
bool store_put(const char *key, size_t key_bytes, const Content *content, size_t *evicted);

StoreState store_state(void);
