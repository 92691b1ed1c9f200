// How requests authenticate: fixed credentials, and tokens that are fetched,
// kept and renewed.

package transport

// Auth is one of Bearer, Basic, HeaderAuth, QueryAuth, ClientCredentials and
// Login.
type Auth interface{ isAuth() }

// Bearer sends "Authorization: Bearer <Token>".
type Bearer struct{ Token Secret }

// Basic sends HTTP basic authentication.
type Basic struct {
	User     string
	Password Secret
}

// HeaderAuth sends the header Name with Value as it is.
type HeaderAuth struct {
	Name  string
	Value Secret
}

// QueryAuth adds the query parameter Name. It never shows in logs or EXPLAIN.
type QueryAuth struct {
	Name  string
	Value Secret
}

// ClientCredentials gets a bearer token by OAuth2's client-credentials grant
// and keeps it until it expires or the API answers 401. TokenURL's host must
// be allowed as the base URL's is; a relative one is resolved against the base
// URL.
type ClientCredentials struct {
	TokenURL     string
	ClientID     string
	ClientSecret Secret
	Scopes       []string
	// Params are further form fields, such as "audience".
	Params map[string]string
	// InBody sends id and secret as form fields in place of basic
	// authentication.
	InBody bool
}

// Login gets a token from the API's own login endpoint by POST and keeps it
// until the API answers 401.
type Login struct {
	// Path as in Request.Path.
	Path string
	// Fields of the body: a JSON object of strings, or a form.
	Fields map[string]Secret
	Form   bool
	// Token is where the answer has the token, a dotted path: "token",
	// "data.access_token".
	Token string
	// Header and Prefix: how the token is sent; default "Authorization" and
	// no prefix.
	Header, Prefix string
}

func (Bearer) isAuth()            {}
func (Basic) isAuth()             {}
func (HeaderAuth) isAuth()        {}
func (QueryAuth) isAuth()         {}
func (ClientCredentials) isAuth() {}
func (Login) isAuth()             {}
