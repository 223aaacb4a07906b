// `module_host cache SEED REQUESTS`: threads make random requests; the last line counts what happened.
// `module_host fields FIELDS`: of each line of the input, a body in hexadecimal digits, says what the filter `fields`
// answers, or an empty line.
// `module_host who KEY_FILE SUBJECT`: says what the access log gets.
#include "host.h"

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
