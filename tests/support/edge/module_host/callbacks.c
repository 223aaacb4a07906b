// What the module calls in Envoy.
#include "host.h"

atomic_ullong metrics[COUNTERS];

static Header *map_of(Host *host, HeaderMap map, size_t **count) {
  *count = map == REQUEST_HEADERS ? &host->request_count : &host->response_count;
  return map == REQUEST_HEADERS ? host->request : host->response;
}

Header *find(Host *host, HeaderMap map, Text key) {
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

size_t next_metric;

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
