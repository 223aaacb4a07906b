package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	movies "marquee.example/gen/marquee/movies/v1"
	rankings "marquee.example/gen/marquee/rankings/v1"
	ratings "marquee.example/gen/marquee/ratings/v1"
)

func main() {
	target := os.Getenv("MARQUEE_TARGET")
	if target == "" {
		target = "127.0.0.1:8080"
	}
	// Elsewhere than on your own machine: credentials.NewTLS(nil).
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("MARQUEE_TOKEN"))

	film, err := movies.NewMovieServiceClient(connection).GetMovie(ctx, &movies.GetMovieRequest{Name: "movies/tt0111161"})
	check(err)
	fmt.Printf("%s, %d\n", film.Title, film.GetYear())

	own := ratings.NewRatingServiceClient(connection)
	name := "users/me/ratings/tt0111161"
	// The same id again is the same rating: this may be repeated after any error.
	rated, err := own.RateMovie(ctx, &ratings.RateMovieRequest{Name: name, Score: 9, RequestId: uuid.NewString()})
	check(err)
	fmt.Printf("rated %d\n", rated.Score)

	// A stream: it begins with the score as it is.
	scores, err := rankings.NewRankingServiceClient(connection).WatchScore(ctx, &rankings.WatchScoreRequest{Name: "movies/tt0111161/score"})
	check(err)
	score, err := scores.Recv()
	check(err)
	fmt.Printf("watching: %d counts\n", len(score.Histogram))

	_, err = own.DeleteRating(ctx, &ratings.DeleteRatingRequest{Name: name})
	check(err)
	_, err = own.GetRating(ctx, &ratings.GetRatingRequest{Name: name})
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			fmt.Printf("%s: %s\n", status.Code(err), info.Reason)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
