import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { MovieService } from "./gen/marquee/movies/v1/movies_pb.js";
import { RankingService } from "./gen/marquee/rankings/v1/rankings_pb.js";
import { RatingService } from "./gen/marquee/ratings/v1/ratings_pb.js";

const withToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.MARQUEE_TOKEN}`);
  return next(request);
};
const baseUrl = process.env.MARQUEE_URL ?? "http://127.0.0.1:8080";
const transport = createGrpcTransport({ baseUrl, defaultTimeoutMs: 10_000, interceptors: [withToken] });

const film = await createClient(MovieService, transport).getMovie({ name: "movies/tt0111161" });
console.log(`${film.title}, ${film.year}`);

const ratings = createClient(RatingService, transport);
const name = "users/me/ratings/tt0111161";
// The same id again is the same rating: this may be repeated after any error.
const rated = await ratings.rateMovie({ name, score: 9, requestId: crypto.randomUUID() });
console.log(`rated ${rated.score}`);

// A stream: it begins with the score as it is.
for await (const score of createClient(RankingService, transport).watchScore({ name: "movies/tt0111161/score" })) {
  console.log(`watching: ${score.histogram.length} counts`);
  break;
}

await ratings.deleteRating({ name });
try {
  await ratings.getRating({ name });
} catch (raised) {
  const error = ConnectError.from(raised);
  const [info] = error.findDetails(ErrorInfoSchema);
  console.log(`${Code[error.code]}: ${info?.reason}`);
}
