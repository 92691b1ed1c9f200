// How requests authenticate: fixed credentials, and tokens that are fetched,
// kept and renewed.

package transport

// Auth is one of Bearer, Basic, HeaderAuth, QueryAuth, Login, ClientCredentials,
// PasswordGrant, JWTBearer and RefreshToken.
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

func (Bearer) isAuth()     {}
func (Basic) isAuth()      {}
func (HeaderAuth) isAuth() {}
func (QueryAuth) isAuth()  {}
func (Login) isAuth()      {}
