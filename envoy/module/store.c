#include "store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct Answer {
  Content content;
  size_t bytes;
  uint64_t hash;
  atomic_uint users;    // readers, and the store itself
  Answer *next_in_slot;
  Answer *newer, *older;
  size_t key_bytes;
  char data[];          // key, head, body
};

// What malloc and the slots take beside an answer's own bytes, about.
enum { OVERHEAD_BYTES = 32, SLOTS = 1 << 15 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Answer *slots[SLOTS];
static Answer *newest, *oldest;
static size_t max_bytes, max_answers;
static StoreState state;
static uint64_t seed;

__attribute__((constructor)) static void choose_seed(void) {
  // Nobody outside can choose keys that all fall into one slot.
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uintptr_t)&seed;
}

// FNV-1a (Fowler, Noll, Vo), begun with the seed, and its high bits mixed into the low ones.
static uint64_t hash_of(const char *key, size_t key_bytes) {
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (size_t i = 0; i < key_bytes; i++) hash = (hash ^ (unsigned char)key[i]) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

static Answer **place_of(uint64_t hash, const char *key, size_t key_bytes) {
  Answer **place = &slots[hash % SLOTS];
  while (*place && !((*place)->hash == hash && (*place)->key_bytes == key_bytes &&
                     memcmp((*place)->data, key, key_bytes) == 0))
    place = &(*place)->next_in_slot;
  return place;
}

static void take_from_order(Answer *answer) {
  *(answer->newer ? &answer->newer->older : &newest) = answer->older;
  *(answer->older ? &answer->older->newer : &oldest) = answer->newer;
}

static void put_first(Answer *answer) {
  answer->newer = NULL;
  answer->older = newest;
  *(newest ? &newest->newer : &oldest) = answer;
  newest = answer;
}

// Takes the answer at `place` out; readers that hold it keep it.
static void drop(Answer **place) {
  Answer *answer = *place;
  *place = answer->next_in_slot;
  take_from_order(answer);
  state.answers--;
  state.bytes -= answer->bytes;
  answer_release(answer);
}

static size_t keep_bound(size_t more_bytes, size_t more_answers) {
  size_t evicted = 0;
  while (oldest && (state.bytes + more_bytes > max_bytes || state.answers + more_answers > max_answers)) {
    drop(place_of(oldest->hash, oldest->data, oldest->key_bytes));
    evicted++;
  }
  return evicted;
}

void store_limit(size_t bytes, size_t answers) {
  pthread_mutex_lock(&lock);
  max_bytes = bytes;
  max_answers = answers;
  keep_bound(0, 0);
  pthread_mutex_unlock(&lock);
}

size_t store_largest(void) { return max_bytes / 16; }

Answer *store_find(const char *key, size_t key_bytes, int64_t now) {
  uint64_t hash = hash_of(key, key_bytes);
  pthread_mutex_lock(&lock);
  Answer **place = place_of(hash, key, key_bytes), *found = *place;
  if (found && found->content.fresh_until <= now) {
    drop(place);
    found = NULL;
  }
  if (found) {
    take_from_order(found);
    put_first(found);
    atomic_fetch_add(&found->users, 1);
  }
  pthread_mutex_unlock(&lock);
  return found;
}

const Content *answer_content(const Answer *answer) { return &answer->content; }

void answer_release(Answer *answer) {
  if (atomic_fetch_sub(&answer->users, 1) == 1) free(answer);
}

bool store_put(const char *key, size_t key_bytes, const Content *content, size_t *evicted) {
  size_t data_bytes = key_bytes + content->head_bytes + content->body_bytes;
  size_t bytes = sizeof(Answer) + data_bytes + OVERHEAD_BYTES;
  if (bytes > store_largest()) return false;
  Answer *answer = malloc(sizeof(Answer) + data_bytes);
  if (!answer) return false;
  char *head = answer->data + key_bytes, *body = head + content->head_bytes;
  memcpy(answer->data, key, key_bytes);
  memcpy(head, content->head, content->head_bytes);
  memcpy(body, content->body, content->body_bytes);
  answer->content = *content;
  answer->content.head = head;
  answer->content.body = body;
  answer->bytes = bytes;
  answer->key_bytes = key_bytes;
  answer->hash = hash_of(key, key_bytes);
  atomic_init(&answer->users, 1);

  pthread_mutex_lock(&lock);
  Answer **place = place_of(answer->hash, key, key_bytes);
  if (*place) drop(place);
  *evicted = keep_bound(bytes, 1);
  Answer **slot = &slots[answer->hash % SLOTS];
  answer->next_in_slot = *slot;
  *slot = answer;
  put_first(answer);
  state.answers++;
  state.bytes += bytes;
  pthread_mutex_unlock(&lock);
  return true;
}

StoreState store_state(void) {
  pthread_mutex_lock(&lock);
  StoreState now = state;
  pthread_mutex_unlock(&lock);
  return now;
}
