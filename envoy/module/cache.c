// The edge's cache: a filter of Envoy's that keeps answers in memory, within a bound (store.c).
//
// A shared cache after RFC 9111, as far as this API needs it: GET only, fresh answers only, no answer that
// varies but by its coding. What may be kept, and for how long, is said by the answer's `cache-control` and
// `age`; who asks with `no-cache`, `no-store` or a `max-age` gets one that is as new. `if-none-match` is
// answered with 304 here, hit or miss.
//
// The key is the coding and the path with its query (`:path`), which begins with a slash. Of the codings that a
// client takes, the filter chooses one, and asks for that only: so an answer is compressed once, by the filters
// behind this one, and not again for each client. An answer that came uncompressed though a coding was wanted is
// the one for everybody.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "module.h"
#include "rules.h"
#include "store.h"

enum { MOST_HEADERS = 40, MOST_CHUNKS = 512, STATUS_OK = 200, STATUS_NOT_FOUND = 404 };

typedef struct {
  size_t hits, misses, stored, evictions;  // counters
  size_t answers, bytes;                   // gauges
} Metrics;

// One request.
typedef struct {
  const Metrics *metrics;
  char *key;  // the coding and the path; NULL where nothing will be stored
  size_t path_bytes;
  Text coding;      // what was asked for; empty for none
  char *condition;  // the request's if-none-match, or NULL
  size_t condition_bytes;
  char *head, *body;  // what has come so far
  size_t head_bytes, body_bytes, body_room;
  int64_t born_at, fresh_until;
  uint32_t status;
  bool for_all_codings;
  bool answered;      // from the store
  bool without_body;  // 304 goes out, the body is kept for the store only
} Request;

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static char *copy_of(Text text, Text more) {
  char *copy = malloc(text.length + more.length + 1);
  if (!copy) return NULL;
  memcpy(copy, text.ptr, text.length);
  memcpy(copy + text.length, more.ptr, more.length);
  return copy;
}

// ---- packing of headers: for each the two lengths, the name, the value ----

static char *pack(const Header *all, size_t count, size_t *bytes) {
  *bytes = 0;
  for (size_t i = 0; i < count; i++)
    if (is_kept(all[i].key)) *bytes += 2 * sizeof(uint32_t) + all[i].key.length + all[i].value.length;
  char *head = malloc(*bytes ? *bytes : 1), *end = head;
  for (size_t i = 0; head && i < count; i++) {
    if (!is_kept(all[i].key)) continue;
    uint32_t lengths[] = {(uint32_t)all[i].key.length, (uint32_t)all[i].value.length};
    memcpy(end, lengths, sizeof lengths);
    memcpy(end + sizeof lengths, all[i].key.ptr, lengths[0]);
    memcpy(end + sizeof lengths + lengths[0], all[i].value.ptr, lengths[1]);
    end += sizeof lengths + lengths[0] + lengths[1];
  }
  return head;
}

static size_t unpack(const char *head, size_t bytes, Header *all) {
  size_t count = 0;
  for (const char *at = head; at < head + bytes; count++) {
    uint32_t lengths[2];
    memcpy(lengths, at, sizeof lengths);
    at += sizeof lengths;
    all[count] = (Header){{at, lengths[0]}, {at + lengths[0], lengths[1]}};
    at += lengths[0] + lengths[1];
  }
  return count;
}

static Text decimal(uint64_t number, char *room, size_t bytes) {
  char *at = room + bytes;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  return (Text){at, (size_t)(room + bytes - at)};
}

// ---- answering ----

static Answer *find(const Request *request, int64_t now) {
  Answer *found = store_find(request->key, request->coding.length + request->path_bytes, now);
  if (found || !request->coding.length) return found;
  found = store_find(request->key + request->coding.length, request->path_bytes, now);
  if (!found || answer_content(found)->for_all_codings) return found;
  answer_release(found);
  return NULL;
}

static void send(EnvoyFilter envoy, const Content *content, Text condition, int64_t now) {
  Header all[MOST_HEADERS + 3];
  char age[20], length[20], status[20];
  size_t kept = unpack(content->head, content->head_bytes, all + 1), count = 1;
  bool not_modified = false;
  if (condition.length && content->status == STATUS_OK)
    for (size_t i = 1; i <= kept; i++)
      if (same(all[i].key, TEXT("etag"))) not_modified = condition_met(condition, all[i].value);
  for (size_t i = 1; i <= kept; i++)
    if (!(not_modified && same(all[i].key, TEXT("content-type")))) all[count++] = all[i];
  all[0].key = TEXT(":status");
  all[0].value = not_modified ? TEXT("304") : decimal(content->status, status, sizeof status);
  all[count++] = (Header){TEXT("age"), decimal((uint64_t)(now - content->born_at) / 1000, age, sizeof age)};
  if (not_modified) {
    CALLBACK(http_send_response_headers)(envoy, all, count, true);
    return;
  }
  all[count++] = (Header){TEXT("content-length"), decimal(content->body_bytes, length, sizeof length)};
  CALLBACK(http_send_response_headers)(envoy, all, count, content->body_bytes == 0);
  if (content->body_bytes)
    CALLBACK(http_send_response_data)(envoy, (Text){content->body, content->body_bytes}, true);
}

static void count(EnvoyFilter envoy, size_t counter, uint64_t by) {
  CALLBACK(http_filter_increment_counter)(envoy, counter, NULL, 0, by);
}

// ---- storing ----

static void forget(Request *request) {
  free(request->key);
  free(request->head);
  free(request->body);
  request->key = request->head = request->body = NULL;
}

static void store(EnvoyFilter envoy, Request *request) {
  Content content = {
      .head = request->head,
      .head_bytes = request->head_bytes,
      .body = request->body ? request->body : "",
      .body_bytes = request->body_bytes,
      .born_at = request->born_at,
      .fresh_until = request->fresh_until,
      .status = request->status,
      .for_all_codings = request->for_all_codings,
  };
  const char *key = request->key + (request->for_all_codings ? request->coding.length : 0);
  size_t key_bytes = request->path_bytes + (request->for_all_codings ? 0 : request->coding.length);
  size_t evicted;
  if (store_put(key, key_bytes, &content, &evicted)) {
    StoreState now = store_state();
    count(envoy, request->metrics->stored, 1);
    count(envoy, request->metrics->evictions, evicted);
    CALLBACK(http_filter_set_gauge)(envoy, request->metrics->answers, NULL, 0, now.answers);
    CALLBACK(http_filter_set_gauge)(envoy, request->metrics->bytes, NULL, 0, now.bytes);
  }
  forget(request);
}

static bool take(Request *request, Text chunk) {
  size_t bytes = request->body_bytes + chunk.length;
  if (bytes > store_largest()) return false;
  if (bytes > request->body_room) {
    size_t room = bytes * 2;
    char *body = realloc(request->body, room);
    if (!body) return false;
    request->body = body;
    request->body_room = room;
  }
  memcpy(request->body + request->body_bytes, chunk.ptr, chunk.length);
  request->body_bytes = bytes;
  return true;
}

static bool take_all(EnvoyFilter envoy, Request *request) {
  size_t pieces = CALLBACK(http_get_body_chunks_size)(envoy, RECEIVED_RESPONSE_BODY);
  Text chunks[MOST_CHUNKS];
  if (!pieces) return true;
  if (pieces > MOST_CHUNKS || !CALLBACK(http_get_body_chunks)(envoy, RECEIVED_RESPONSE_BODY, chunks)) return false;
  for (size_t i = 0; i < pieces; i++)
    if (!take(request, chunks[i])) return false;
  return true;
}

// Whether the answer may be stored; sets until when it is fresh.
static bool may_store(EnvoyFilter envoy, Request *request) {
  Text status, control, age, vary, coding, cookie;
  header(envoy, RESPONSE_HEADERS, TEXT(":status"), &status);
  request->status = same(status, TEXT("200")) ? STATUS_OK : same(status, TEXT("404")) ? STATUS_NOT_FOUND : 0;
  if (!request->status || !header(envoy, RESPONSE_HEADERS, TEXT("cache-control"), &control)) return false;
  Control said = control_of(control, false);
  if (said.forbidden || said.max_age <= 0) return false;
  if (header(envoy, RESPONSE_HEADERS, TEXT("set-cookie"), &cookie)) return false;
  if (header(envoy, RESPONSE_HEADERS, TEXT("vary"), &vary) && !same_word(vary, TEXT("accept-encoding"))) return false;
  bool coded = header(envoy, RESPONSE_HEADERS, TEXT("content-encoding"), &coding);
  if (coded && !same(coding, request->coding)) return false;
  request->for_all_codings = request->coding.length && !coded;
  int64_t old = header(envoy, RESPONSE_HEADERS, TEXT("age"), &age) ? seconds_of(age) : 0;
  if (old < 0 || old >= said.max_age) return false;
  int64_t now = now_ms();
  request->born_at = now - old * 1000;
  request->fresh_until = now + (said.max_age - old) * 1000;
  size_t headers = CALLBACK(http_get_headers_size)(envoy, RESPONSE_HEADERS);
  Header all[MOST_HEADERS];
  if (headers > MOST_HEADERS || !CALLBACK(http_get_headers)(envoy, RESPONSE_HEADERS, all)) return false;
  request->head = pack(all, headers, &request->head_bytes);
  return request->head != NULL;
}

// ---- what Envoy calls ----

// The configuration is "BYTES ANSWERS".
static void *config_new(EnvoyConfig envoy, Text config) {
  char text[48] = {0}, *rest;
  if (config.length >= sizeof text) return NULL;
  memcpy(text, config.ptr, config.length);
  unsigned long long bytes = strtoull(text, &rest, 10), answers = strtoull(rest, &rest, 10);
  Metrics *metrics = calloc(1, sizeof *metrics);
  if (!bytes || !answers || *rest || !metrics) {
    free(metrics);
    return NULL;
  }
  CALLBACK(http_filter_config_define_counter)(envoy, TEXT("edge_cache_hits"), NULL, 0, &metrics->hits);
  CALLBACK(http_filter_config_define_counter)(envoy, TEXT("edge_cache_misses"), NULL, 0, &metrics->misses);
  CALLBACK(http_filter_config_define_counter)(envoy, TEXT("edge_cache_stored"), NULL, 0, &metrics->stored);
  CALLBACK(http_filter_config_define_counter)(envoy, TEXT("edge_cache_evictions"), NULL, 0, &metrics->evictions);
  CALLBACK(http_filter_config_define_gauge)(envoy, TEXT("edge_cache_answers"), NULL, 0, &metrics->answers);
  CALLBACK(http_filter_config_define_gauge)(envoy, TEXT("edge_cache_bytes"), NULL, 0, &metrics->bytes);
  store_limit(bytes, answers);
  return metrics;
}

static void *request_new(const void *metrics) {
  Request *request = calloc(1, sizeof *request);
  if (request) request->metrics = metrics;
  return request;
}

static void request_free(void *mine) {
  Request *request = mine;
  forget(request);
  free(request->condition);
  free(request);
}

static HeadersStatus request_headers(EnvoyFilter envoy, void *mine, bool end) {
  Request *request = mine;
  if (!end) return GO_ON;  // a GET with a body is for the transcoder to judge
  Text path, accepted, control, condition;
  Control wanted = {false, -1};
  if (!header(envoy, REQUEST_HEADERS, TEXT(":path"), &path)) return GO_ON;
  header(envoy, REQUEST_HEADERS, TEXT("accept-encoding"), &accepted);
  request->coding = coding_of(accepted);
  request->path_bytes = path.length;
  request->key = copy_of(request->coding, path);
  if (!request->key) return GO_ON;
  if (header(envoy, REQUEST_HEADERS, TEXT("cache-control"), &control)) wanted = control_of(control, true);
  header(envoy, REQUEST_HEADERS, TEXT("if-none-match"), &condition);

  int64_t now = now_ms();
  Answer *found = wanted.forbidden ? NULL : find(request, now);
  if (found && wanted.max_age >= 0 && now - answer_content(found)->born_at > wanted.max_age * 1000) {
    answer_release(found);
    found = NULL;
  }
  if (found) {
    request->answered = true;
    count(envoy, request->metrics->hits, 1);
    // Ends the request, so that nothing may be read of it afterwards.
    send(envoy, answer_content(found), condition, now);
    answer_release(found);
    return STOP;
  }
  count(envoy, request->metrics->misses, 1);
  CALLBACK(http_set_header)(envoy, REQUEST_HEADERS, TEXT("accept-encoding"), request->coding);
  if (condition.length) {
    // The whole answer is wanted for the store.
    request->condition = copy_of(condition, (Text){"", 0});
    request->condition_bytes = request->condition ? condition.length : 0;
    CALLBACK(http_set_header)(envoy, REQUEST_HEADERS, TEXT("if-none-match"), (Text){NULL, 0});
  }
  return GO_ON;
}

static HeadersStatus response_headers(EnvoyFilter envoy, void *mine, bool end) {
  Request *request = mine;
  if (request->answered) return GO_ON;
  if (request->key && !may_store(envoy, request)) forget(request);
  if (request->key && end) store(envoy, request);
  Text status, etag, condition = {request->condition, request->condition_bytes};
  if (condition.length && header(envoy, RESPONSE_HEADERS, TEXT(":status"), &status) &&
      same(status, TEXT("200")) && header(envoy, RESPONSE_HEADERS, TEXT("etag"), &etag) &&
      condition_met(condition, etag)) {
    request->without_body = true;
    CALLBACK(http_set_header)(envoy, RESPONSE_HEADERS, TEXT(":status"), TEXT("304"));
    CALLBACK(http_set_header)(envoy, RESPONSE_HEADERS, TEXT("content-type"), (Text){NULL, 0});
    CALLBACK(http_set_header)(envoy, RESPONSE_HEADERS, TEXT("content-length"), (Text){NULL, 0});
  }
  return GO_ON;
}

static BodyStatus response_body(EnvoyFilter envoy, void *mine, bool end) {
  Request *request = mine;
  if (request->answered || !(request->key || request->without_body)) return BODY_GOES_ON;
  if (request->key && !take_all(envoy, request)) forget(request);
  if (request->without_body) {
    size_t bytes = CALLBACK(http_get_body_size)(envoy, RECEIVED_RESPONSE_BODY);
    CALLBACK(http_drain_body)(envoy, RECEIVED_RESPONSE_BODY, bytes);
  }
  if (request->key && end) store(envoy, request);
  return BODY_GOES_ON;
}

static TrailersStatus response_trailers(EnvoyFilter envoy, void *mine) {
  Request *request = mine;
  if (!request->answered && request->key) store(envoy, request);
  return TRAILERS_GO_ON;
}

const Kind cache_filter = {
    .name = {"cache", 5},
    .config_new = config_new,
    .config_free = free,
    .request_new = request_new,
    .request_free = request_free,
    .request_headers = request_headers,
    .response_headers = response_headers,
    .response_body = response_body,
    .response_trailers = response_trailers,
};
