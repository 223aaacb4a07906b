// Bodies, sent in pieces of all sizes in turn, and what the filter `fields` answers.
#include "host.h"

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

int fields_main(char *fields) {
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
