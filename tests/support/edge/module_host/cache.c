// Threads make random requests, well-formed and not, and every answer is compared with what the service said.
#include <pthread.h>

#include "host.h"
#include "store.h"

enum { THREADS = 4, PATHS = 40, MAX_ANSWERS = 60 };

static unsigned requests;

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

int cache_main(const char *seed, const char *count) {
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
