// A stand-in for Envoy around envoy/module. tests/unit/edge/test_envoy_module.py compiles it with the sanitizers of
// the C compiler.
//
// `module_host cache SEED REQUESTS`: threads make random requests, well-formed and not, and every answer is held
// against what the service said; the last line counts what happened.
// `module_host fields FIELDS`: of each line of the input, a body in hexadecimal digits, says what the filter `fields`
// answers, or an empty line; each body is sent in pieces of all sizes in turn.
// `module_host who KEY_FILE SUBJECT`: says what the access log gets.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "store.h"

enum { THREADS = 4, PATHS = 40, MAX_BYTES = 400000, MAX_ANSWERS = 60, COUNTERS = 6 };

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define T(text) ((Text){text, sizeof(text) - 1})
#define CHECK(what) \
  if (!(what)) fprintf(stderr, "line %d: %s\n", __LINE__, #what), abort()

// One request as Envoy holds it.
typedef struct {
  Header request[8], response[12];
  size_t request_count, response_count;
  Text chunk;
  Text body, buffered;  // of the request: this piece, and what the filter has let Envoy keep
  void *route;
  Text refusal;
  char *sent;  // the body that went to the client
  size_t sent_bytes, content_length;
  bool ended;
} Host;

static atomic_ullong metrics[COUNTERS];
static unsigned requests;

// ---- the callbacks ----

static Header *map_of(Host *host, HeaderMap map, size_t **count) {
  *count = map == REQUEST_HEADERS ? &host->request_count : &host->response_count;
  return map == REQUEST_HEADERS ? host->request : host->response;
}

static Header *find(Host *host, HeaderMap map, Text key) {
  size_t *count;
  Header *all = map_of(host, map, &count);
  for (size_t i = 0; i < *count; i++)
    if (all[i].key.length == key.length && !memcmp(all[i].key.ptr, key.ptr, key.length)) return &all[i];
  return NULL;
}

bool CALLBACK(http_get_header)(EnvoyFilter envoy, HeaderMap map, Text key, Text *value, size_t index, size_t *count) {
  Header *found = find(envoy, map, key);
  CHECK(index == 0);
  *count = found != NULL;
  *value = found ? found->value : (Text){NULL, 0};
  return found != NULL;
}

size_t CALLBACK(http_get_headers_size)(EnvoyFilter envoy, HeaderMap map) {
  size_t *count;
  map_of(envoy, map, &count);
  return *count;
}

bool CALLBACK(http_get_headers)(EnvoyFilter envoy, HeaderMap map, Header *all) {
  size_t *count;
  Header *mine = map_of(envoy, map, &count);
  memcpy(all, mine, *count * sizeof *all);
  return true;
}

bool CALLBACK(http_set_header)(EnvoyFilter envoy, HeaderMap map, Text key, Text value) {
  size_t *count;
  Header *all = map_of(envoy, map, &count), *found = find(envoy, map, key);
  if (!value.ptr) {
    if (found) *found = all[--*count];
  } else {
    if (!found) found = &all[(*count)++];
    found->key = key;
    found->value = value;
  }
  return true;
}

static Text part_of_body(const Host *host, BodyKind kind) {
  return kind == RECEIVED_RESPONSE_BODY ? host->chunk : kind == RECEIVED_REQUEST_BODY ? host->body : host->buffered;
}

// Two pieces where there are two bytes.
size_t CALLBACK(http_get_body_chunks_size)(EnvoyFilter envoy, BodyKind kind) {
  size_t length = part_of_body(envoy, kind).length;
  return kind == RECEIVED_RESPONSE_BODY ? length > 0 : length > 1 ? 2 : length;
}

bool CALLBACK(http_get_body_chunks)(EnvoyFilter envoy, BodyKind kind, Text *chunks) {
  Text all = part_of_body(envoy, kind);
  size_t half = CALLBACK(http_get_body_chunks_size)(envoy, kind) > 1 ? all.length / 2 : all.length;
  chunks[0] = (Text){all.ptr, half};
  if (half < all.length) chunks[1] = (Text){all.ptr + half, all.length - half};
  return true;
}

size_t CALLBACK(http_get_body_size)(EnvoyFilter envoy, BodyKind kind) { return part_of_body(envoy, kind).length; }

bool CALLBACK(http_received_buffered_request_body)(EnvoyFilter envoy) {
  (void)envoy;
  return false;
}

void *CALLBACK(get_most_specific_route_config)(EnvoyFilter envoy) { return ((Host *)envoy)->route; }

bool CALLBACK(http_drain_body)(EnvoyFilter envoy, BodyKind kind, size_t bytes) {
  (void)kind;
  CHECK(bytes == ((Host *)envoy)->chunk.length);
  ((Host *)envoy)->chunk.length = 0;
  return true;
}

// What is sent is Envoy's from then on: a copy, as in Envoy.
static Text copied(Text text) {
  char *copy = malloc(text.length + 1);
  memcpy(copy, text.ptr, text.length);
  copy[text.length] = 0;
  return (Text){copy, text.length};
}

void CALLBACK(http_send_response)(EnvoyFilter envoy, uint32_t status, Header *headers, size_t count, Text body,
                                  Text details) {
  Host *host = envoy;
  CHECK(status == 400 && !headers && !count && details.length && !host->refusal.ptr);
  host->refusal = copied(body);
}

void CALLBACK(http_set_dynamic_metadata_string)(EnvoyFilter envoy, Text filter, Text key, Text value) {
  (void)envoy;
  printf("%.*s.%.*s=%.*s\n", (int)filter.length, filter.ptr, (int)key.length, key.ptr, (int)value.length, value.ptr);
}

void CALLBACK(http_send_response_headers)(EnvoyFilter envoy, Header *headers, size_t count, bool end) {
  Host *host = envoy;
  CHECK(count <= COUNT(host->response));
  host->response_count = count;
  for (size_t i = 0; i < count; i++)
    host->response[i] = (Header){copied(headers[i].key), copied(headers[i].value)};
  host->ended = end;
}

void CALLBACK(http_send_response_data)(EnvoyFilter envoy, Text data, bool end) {
  Host *host = envoy;
  CHECK(!host->ended && end);
  host->sent = (char *)copied(data).ptr;
  host->sent_bytes = data.length;
  host->ended = true;
}

static size_t next_metric;
static MetricResult define(size_t *id) {
  *id = next_metric++ % COUNTERS;
  return METRIC_OK;
}

MetricResult CALLBACK(http_filter_config_define_counter)(EnvoyConfig envoy, Text name, Text *labels, size_t count,
                                                         size_t *id) {
  (void)envoy, (void)name, (void)labels, (void)count;
  return define(id);
}

MetricResult CALLBACK(http_filter_config_define_gauge)(EnvoyConfig envoy, Text name, Text *labels, size_t count,
                                                       size_t *id) {
  (void)envoy, (void)name, (void)labels, (void)count;
  return define(id);
}

MetricResult CALLBACK(http_filter_increment_counter)(EnvoyFilter envoy, size_t id, Text *labels, size_t count,
                                                     uint64_t by) {
  (void)envoy, (void)labels, (void)count;
  atomic_fetch_add(&metrics[id], by);
  return METRIC_OK;
}

MetricResult CALLBACK(http_filter_set_gauge)(EnvoyFilter envoy, size_t id, Text *labels, size_t count, uint64_t value) {
  (void)envoy, (void)labels, (void)count;
  atomic_store(&metrics[id], value);
  CHECK(value <= MAX_BYTES);
  return METRIC_OK;
}

void *HOOK(http_filter_config_new)(EnvoyConfig, Text name, Text config);
void HOOK(http_filter_config_destroy)(void *);
void *HOOK(http_filter_new)(const void *, EnvoyFilter);
void HOOK(http_filter_destroy)(void *);
HeadersStatus HOOK(http_filter_request_headers)(EnvoyFilter, void *, bool);
BodyStatus HOOK(http_filter_request_body)(EnvoyFilter, void *, bool);
TrailersStatus HOOK(http_filter_request_trailers)(EnvoyFilter, void *);
void *HOOK(http_filter_per_route_config_new)(Text name, Text config);
void HOOK(http_filter_per_route_config_destroy)(void *);
HeadersStatus HOOK(http_filter_response_headers)(EnvoyFilter, void *, bool);
BodyStatus HOOK(http_filter_response_body)(EnvoyFilter, void *, bool);
TrailersStatus HOOK(http_filter_response_trailers)(EnvoyFilter, void *);

// ---- what clients and services say ----

static const Text ACCEPTED[] = {T(""),          T("gzip"),         T("br"),       T("zstd, br;q=0.5"), T("gzip;q=0"),
                                T("*"),         T(",, ;,q=1"),     T("GZip"),     T("br;q=9, gzip"),   T("br;q="),
                                T("zstd;q=0.001"), T("gzip;q=1.001"), T("br ; q=1."), T("identity"),      T("br;q=0.12345")};
static const Text WANTED[] = {T("no-cache"), T("max-age=0"), T("max-age=99999999999999999999"), T(","), T("max-age")};
static const Text CONDITIONS[] = {T("\"v1\""), T("W/\"v1\""), T("*"), T("\"x\", W/\"v1\""), T("\""), T(",,"), T("W/")};
static const struct {
  Text text;
  bool storable;
} CONTROLS[] = {{T("public, max-age=60"), true},   {T("max-age=0"), false},         {T("private, max-age=60"), false},
                {T("max-age=60,no-store"), false}, {T("max-age=60 , x"), true},     {T("max-age=-1"), false},
                {T("max-age="), false}, {T("max-age=9, No-Store"), false},            {T("s-maxage=0, max-age=9"), false}, {T(""), false},
                {T("s-maxage=60"), true},          {T("max-age=999999999999"), true},   {T(","), false}};

static Text one_of(const Text *all, size_t count, unsigned *random) { return all[(unsigned)rand_r(random) % count]; }

static void add(Header *all, size_t *count, Text key, Text value) { all[(*count)++] = (Header){key, value}; }

// A body tells which path and coding it is for, whether it may be stored, and is the same letter to its end.
static Text body_of(Text path, Text coding, bool storable, unsigned *random) {
  size_t length = 64 + (unsigned)rand_r(random) % (rand_r(random) % 20 ? 3000 : MAX_BYTES / 10);
  char *body = malloc(length);
  memset(body, 'a' + rand_r(random) % 26, length);
  int head = snprintf(body, 60, "%c%.*s|%.*s|", storable ? '+' : '-', (int)path.length, path.ptr, (int)coding.length,
                      coding.ptr);
  body[head] = body[length - 1];
  return (Text){body, length};
}

static void check_stored(const Host *host, Text path, Text accepted, bool condition) {
  Text status = find((Host *)host, RESPONSE_HEADERS, T(":status"))->value;
  Header *coding = find((Host *)host, RESPONSE_HEADERS, T("content-encoding"));
  CHECK(host->ended && find((Host *)host, RESPONSE_HEADERS, T("age")));
  if (!memcmp(status.ptr, "304", 3)) {
    CHECK(condition && !host->sent && !find((Host *)host, RESPONSE_HEADERS, T("content-type")));
    return;
  }
  CHECK(host->sent && (size_t)atoi(find((Host *)host, RESPONSE_HEADERS, T("content-length"))->value.ptr) == host->sent_bytes);
  CHECK(host->sent[0] == '+');
  CHECK(!memcmp(host->sent + 1, path.ptr, path.length) && host->sent[1 + path.length] == '|');
  const char *said = host->sent + path.length + 2, *end = memchr(said, '|', 8);
  CHECK(end && (coding ? (size_t)(end - said) == coding->value.length : end == said));
  CHECK(!coding || accepted.length);
  for (const char *at = end + 1; at < host->sent + host->sent_bytes; at++) CHECK(*at == host->sent[host->sent_bytes - 1]);
}

// ---- one request, from its headers to its end ----

static void service_answers(Host *host, void *filter, Text path, bool condition, unsigned *random) {
  size_t control = (unsigned)rand_r(random) % COUNT(CONTROLS);
  Header *asked = find(host, REQUEST_HEADERS, T("accept-encoding"));
  Text coding = asked && rand_r(random) % 3 ? asked->value : (Text){"", 0};
  bool varies = rand_r(random) % 10 == 0, cookie = rand_r(random) % 10 == 0, ok = rand_r(random) % 5 != 0;
  bool wrong_coding = rand_r(random) % 20 == 0;
  if (wrong_coding) coding = T("x-other");
  CHECK(!find(host, REQUEST_HEADERS, T("if-none-match")));
  Text body = body_of(path, coding, CONTROLS[control].storable && ok && !varies && !cookie && !wrong_coding, random);
  add(host->response, &host->response_count, T(":status"), ok ? T("200") : T("500"));
  add(host->response, &host->response_count, T("cache-control"), CONTROLS[control].text);
  add(host->response, &host->response_count, T("content-type"), T("application/json"));
  add(host->response, &host->response_count, T("etag"), rand_r(random) % 2 ? T("\"v1\"") : T("W/\"v2\""));
  if (coding.length) add(host->response, &host->response_count, T("content-encoding"), coding);
  if (cookie) add(host->response, &host->response_count, T("set-cookie"), T("a=b"));
  if (varies) add(host->response, &host->response_count, T("vary"), T("origin"));
  CHECK(HOOK(http_filter_response_headers)(host, filter, false) == GO_ON);
  bool not_modified = !memcmp(find(host, RESPONSE_HEADERS, T(":status"))->value.ptr, "304", 3);
  CHECK(!not_modified || (condition && ok));
  size_t passed = 0;
  bool trailers = rand_r(random) % 2, cut = rand_r(random) % 10 == 0;
  for (size_t at = 0; at < body.length;) {
    size_t length = 1 + (unsigned)rand_r(random) % (body.length - at);
    if (cut && at + length == body.length) break;
    host->chunk = (Text){body.ptr + at, length};
    at += length;
    HOOK(http_filter_response_body)(host, filter, !trailers && at == body.length);
    passed += host->chunk.length;
  }
  if (!cut && trailers) HOOK(http_filter_response_trailers)(host, filter);
  CHECK(not_modified ? passed == 0 : cut || passed == body.length);
  free((char *)body.ptr);
}

static void one_request(void *config, unsigned *random) {
  Host host = {0};
  char path[32];
  Text accepted = one_of(ACCEPTED, COUNT(ACCEPTED), random);
  int length = snprintf(path, sizeof path, "/%u%s", (unsigned)rand_r(random) % PATHS,
                        (const char *[]){"", "br", "gzip", "?q=1"}[rand_r(random) % 4]);
  bool condition = rand_r(random) % 4 == 0;
  add(host.request, &host.request_count, T(":path"), (Text){path, (size_t)length});
  if (rand_r(random) % 4) add(host.request, &host.request_count, T("accept-encoding"), accepted);
  else accepted.length = 0;
  if (rand_r(random) % 8 == 0)
    add(host.request, &host.request_count, T("cache-control"), one_of(WANTED, COUNT(WANTED), random));
  if (condition)
    add(host.request, &host.request_count, T("if-none-match"), one_of(CONDITIONS, COUNT(CONDITIONS), random));

  void *filter = HOOK(http_filter_new)(config, &host);
  if (HOOK(http_filter_request_headers)(&host, filter, true) == STOP) {
    check_stored(&host, (Text){path, (size_t)length}, accepted, condition);
    for (size_t i = 0; i < host.response_count; i++)
      free((char *)host.response[i].key.ptr), free((char *)host.response[i].value.ptr);
    free(host.sent);
  } else if (rand_r(random) % 10) {
    service_answers(&host, filter, (Text){path, (size_t)length}, condition, random);
  }
  HOOK(http_filter_destroy)(filter);
}

typedef struct {
  void *config;
  unsigned random;
} Client;

static void *client(void *mine) {
  Client *self = mine;
  for (unsigned i = 0; i < requests; i++) one_request(self->config, &self->random);
  return NULL;
}

static int cache_main(const char *seed, const char *count) {
  requests = (unsigned)atoi(count);
  const Text broken[] = {T(""), T("x"), T("0 1"), T("1 0"), T("1"), T("1 2 3"),
                         T("99999999999999999999999999999999999999999999999999999 1")};
  for (size_t i = 0; i < COUNT(broken); i++) CHECK(!HOOK(http_filter_config_new)(NULL, T("cache"), broken[i]));
  char bounds[40];
  int length = snprintf(bounds, sizeof bounds, "%d %d", MAX_BYTES, MAX_ANSWERS);
  next_metric = 0;
  void *config = HOOK(http_filter_config_new)(NULL, T("cache"), (Text){bounds, (size_t)length});
  CHECK(config);
  Client clients[THREADS];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    clients[i] = (Client){config, (unsigned)atoi(seed) * THREADS + (unsigned)i};
    pthread_create(&threads[i], NULL, client, &clients[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  StoreState state = store_state();
  CHECK(state.answers <= MAX_ANSWERS && state.bytes <= MAX_BYTES && state.answers > 0);
  store_limit(1, 1);
  state = store_state();
  CHECK(state.answers == 0 && state.bytes == 0);
  HOOK(http_filter_config_destroy)(config);
  printf("hits=%llu misses=%llu stored=%llu evictions=%llu\n", metrics[0], metrics[1], metrics[2], metrics[3]);
  return 0;
}

// ---- bodies ----

// Sends the body in pieces of so many bytes; the answer's text, or NULL if the request went on.
static char *send_body(void *config, void *route, Text body, size_t piece, bool trailers) {
  Host host = {.route = route};
  char *kept = malloc(body.length + 1);
  void *filter = HOOK(http_filter_new)(config, &host);
  CHECK(HOOK(http_filter_request_headers)(&host, filter, false) == STOP);
  bool stopped = false;
  for (size_t at = 0; at < body.length || (at == 0 && !trailers); at += piece) {
    size_t length = body.length - at < piece ? body.length - at : piece;
    bool end = !trailers && at + length >= body.length;
    // A copy of its own, so that reading past its end is seen.
    char *own = malloc(length ? length : 1);
    memcpy(own, body.ptr + at, length);
    host.body = (Text){own, length};
    BodyStatus status = HOOK(http_filter_request_body)(&host, filter, end);
    CHECK(end ? status != BUFFER_BODY : status == BUFFER_BODY);
    stopped = status == STOP_BODY;
    memcpy(kept + at, own, length);
    host.buffered = (Text){kept, at + length};
    host.body.length = 0;
    free(own);
    if (end) break;
  }
  if (trailers) stopped = HOOK(http_filter_request_trailers)(&host, filter) == STOP_TRAILERS;
  HOOK(http_filter_destroy)(filter);
  free(kept);
  CHECK(stopped == (host.refusal.ptr != NULL));
  return (char *)host.refusal.ptr;
}

static int fields_main(char *fields) {
  void *config = HOOK(http_filter_config_new)(NULL, T("fields"), T(""));
  const Text broken[] = {T(""), T(","), T("a,"), T("a{"), T("a{}"), T("a{b"), T("a}"), T("a/"), T("/a"), T("a{b}c")};
  for (size_t i = 0; i < COUNT(broken); i++) CHECK(!HOOK(http_filter_per_route_config_new)(T("fields"), broken[i]));
  CHECK(!HOOK(http_filter_per_route_config_new)(T("cache"), T("a")));
  void *route = HOOK(http_filter_per_route_config_new)(T("fields"), (Text){fields, strlen(fields)});
  CHECK(route);
  char *line = NULL;
  size_t room = 0;
  for (ssize_t read; (read = getline(&line, &room, stdin)) > 0;) {
    size_t length = (size_t)read / 2;
    char *body = malloc(length + 1);
    for (size_t i = 0; i < length; i++) {
      unsigned byte;
      CHECK(sscanf(line + 2 * i, "%2x", &byte) == 1);
      body[i] = (char)byte;
    }
    Text whole = {body, length};
    char *answer = send_body(config, route, whole, length + 1, false);
    const size_t pieces[] = {1, 2, 7, length ? length : 1};
    for (size_t i = 0; i < 2 * COUNT(pieces); i++) {
      char *again = send_body(config, route, whole, pieces[i / 2], i % 2);
      CHECK(answer ? again && !strcmp(answer, again) : !again);
      free(again);
    }
    printf("%s\n", answer ? answer : "");
    free(answer);
    free(body);
  }
  free(line);
  HOOK(http_filter_per_route_config_destroy)(route);
  HOOK(http_filter_config_destroy)(config);
  return 0;
}

static int who_main(const char *file, char *subject) {
  CHECK(!HOOK(http_filter_config_new)(NULL, T("who"), T("/no/such/file")));
  void *config = HOOK(http_filter_config_new)(NULL, T("who"), (Text){file, strlen(file)});
  CHECK(config);
  Host host = {0};
  void *filter = HOOK(http_filter_new)(config, &host);
  CHECK(HOOK(http_filter_request_headers)(&host, filter, true) == GO_ON);  // says nothing
  add(host.request, &host.request_count, T("x-marquee-subject"), (Text){subject, strlen(subject)});
  CHECK(HOOK(http_filter_request_headers)(&host, filter, true) == GO_ON);
  HOOK(http_filter_destroy)(filter);
  HOOK(http_filter_config_destroy)(config);
  return 0;
}

int main(int argc, char **argv) {
  CHECK(!HOOK(http_filter_config_new)(NULL, T("nothing"), T("")));
  if (argc == 4 && !strcmp(argv[1], "cache")) return cache_main(argv[2], argv[3]);
  if (argc == 3 && !strcmp(argv[1], "fields")) return fields_main(argv[2]);
  if (argc == 4 && !strcmp(argv[1], "who")) return who_main(argv[2], argv[3]);
  return 2;
}
