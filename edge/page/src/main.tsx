// The page's frame, and which view stands at which path.
import { render } from "preact";
import { useErrorBoundary } from "preact/hooks";
import { LocationProvider, Route, Router, useLocation } from "preact-iso";

import { Charts, Home } from "./chart";
import { Film } from "./movie";
import { OwnRatings, SignIn } from "./own";
import { Heading, useUser } from "./parts";
import { Search, SearchField } from "./search";

function Unknown() {
  return (
    <>
      <Heading title="Nothing here">There is nothing at this address</Heading>
      <p><a href="/">Go to the beginning</a></p>
    </>
  );
}

function Header() {
  const { path } = useLocation();
  const user = useUser();
  const here = (at: string) => (path === at ? "page" : undefined);
  return (
    <header>
      <a class="skip" href="#main">Skip to the content</a>
      <a class="brand" href="/" aria-current={here("/")}>Marquee</a>
      <SearchField />
      <nav aria-label="Pages">
        <a href="/charts" aria-current={here("/charts")}>Charts</a>
        <a href="/ratings" aria-current={here("/ratings")}>My ratings</a>
        {!user && <a href="/sign-in" aria-current={here("/sign-in")}>Sign in</a>}
      </nav>
    </header>
  );
}

function App() {
  return (
    <LocationProvider scope={/^\/(?!docs|openapi\.json|v1\/)/}>
      <Header />
      <main id="main" tabIndex={-1}>
        <Views />
      </main>
      <footer><a href="/docs">For programs: the API</a></footer>
    </LocationProvider>
  );
}

function Views() {
  const [failed] = useErrorBoundary((error) => console.error(error));
  if (failed) {
    return (
      <>
        <Heading title="Broken">This view is broken</Heading>
        <p>That is a fault of this page, not yours. <a href="/" target="_self">Begin again</a></p>
      </>
    );
  }
  return (
    <Router>
      <Route path="/" component={Home} />
      <Route path="/charts" component={Charts} />
      <Route path="/search" component={Search} />
      <Route path="/films/:id" component={Film} />
      <Route path="/ratings" component={OwnRatings} />
      <Route path="/sign-in" component={SignIn} />
      <Route default component={Unknown} />
    </Router>
  );
}

render(<App />, document.getElementById("app")!);
