// Package rest speaks any HTTP API with JSON that a YAML manifest describes:
// where objects are, how to filter, sort, page and write, and what errors look
// like. It knows no API of its own.
//
// This file is the manifest as Go structs. Their tags are the one source of
// the loader's checks (load.go), the JSON schema and the docs (schema.go):
//
//	yaml    the key
//	doc     one or two sentences for the docs and the schema
//	check   required; enum=a|b; min=n; max=n; form=path|name|template
package rest

// Manifest describes one API.
type Manifest struct {
	Version     int        `yaml:"manifest" check:"required,min=1,max=1" doc:"Version of the manifest's format; 1."`
	Name        string     `yaml:"name" check:"required" doc:"The API's name in error messages, such as CRM."`
	Description string     `yaml:"description" doc:"What the API is; for people."`
	BaseURL     string     `yaml:"base_url" doc:"Where the API is: scheme, host and a path that is put before every other path. {option} is replaced by the server option of that name. The server option base_url overrides it."`
	Options     []Option   `yaml:"options" doc:"Server options that this manifest adds, by name."`
	Headers     []Pair     `yaml:"headers" doc:"Headers sent with every request, by name. {option} is replaced by the server option of that name."`
	Auth        Auth       `yaml:"auth" doc:"How requests authenticate. Secrets never stand here: they come from the user mapping."`
	Limits      Limits     `yaml:"limits" doc:"How fast the API may be called."`
	Read        Read       `yaml:"read" doc:"How a list of records is asked for."`
	Paging      Paging     `yaml:"paging" doc:"How the next page is asked for."`
	Filter      *Filter    `yaml:"filter" doc:"How rows are filtered; without it nothing is pushed down."`
	Partition   *Partition `yaml:"partition" doc:"How a list can be read in several parts at once."`
	Sort        *Sort      `yaml:"sort" doc:"How rows are sorted; without it PostgreSQL sorts."`
	Aggregate   *Aggregate `yaml:"aggregate" doc:"How the API counts and groups records; without it PostgreSQL does. Used only where every condition is exact."`
	Ways        []Way      `yaml:"ways" doc:"Further ways to read objects, by name: a search beside the list, a request for some keys. Of all ways that one is taken which leaves the least to read."`
	Create      *Write     `yaml:"create" doc:"How a record is created; without it objects cannot be inserted into. An object may have its own."`
	Update      *Write     `yaml:"update" doc:"How a record is changed; only changed fields are sent."`
	Delete      *Write     `yaml:"delete" doc:"How a record is deleted."`
	Upsert      *Write     `yaml:"upsert" doc:"How a record is updated, or created if there is none, in one request. Without it a record is looked for first."`
	Load        *LoadJob   `yaml:"load" doc:"How many records at once are written by a job; used where there are enough of them and time for it (the option bulk_writes), and RETURNING is not wanted."`
	Get         *Write     `yaml:"get" doc:"How one record is read by its key: for RETURNING, where the answer to a write has not all fields."`
	Errors      Errors     `yaml:"errors" doc:"What the answers to refused requests look like."`
	Objects     []Object   `yaml:"objects" check:"required" doc:"The collections of the API, by name. Each can be a foreign table."`

	// File is the name the manifest was loaded by, or that of its connector.
	File string `yaml:"-"`
	// way is the one that the manifest was made for; empty: the one at the top.
	way string
}

// Option is a server option that a manifest adds.
type Option struct {
	Name     string `yaml:"-"`
	Help     string `yaml:"help" doc:"One sentence for whoever sets it."`
	Default  string `yaml:"default" doc:"Its value when the server does not set it."`
	Required bool   `yaml:"required" doc:"The server must set it."`
}

// Pair is a name with a value.
type Pair struct {
	Name  string `yaml:"-"`
	Value string `yaml:",value"`
}

// Auth is how requests authenticate.
type Auth struct {
	Type   string `yaml:"type" check:"enum=none|bearer|basic|header|query|client_credentials|oauth2|login" doc:"none (default); bearer (user mapping option token); basic (user, password); header and query (api_key, sent as name); client_credentials (OAuth2: client_id, client_secret); oauth2 (one of grants, by what the user mapping has); login (a token from the API's own login endpoint: user, password)."`
	Name   string `yaml:"name" doc:"header, query: name of the header or query parameter that carries the key. login: header that carries the token, default Authorization."`
	Prefix string `yaml:"prefix" doc:"header, login: text before the key or token, such as \"Bearer \"."`
	// OAuth2.
	TokenURL     string   `yaml:"token_url" doc:"client_credentials, oauth2: where tokens are had; absolute, or a path after base_url. {option} is replaced by the server option of that name."`
	AuthorizeURL string   `yaml:"authorize_url" doc:"oauth2: where a person says yes, for hallway auth; as token_url."`
	Authorize    []Pair   `yaml:"authorize" doc:"oauth2: further parameters of authorize_url."`
	Grants       []string `yaml:"grants" doc:"oauth2: what the API takes, of token (one that does not expire: token), refresh_token (refresh_token), authorization_code (authorization: hallway auth), jwt_bearer (private_key, user, key_id), password (user, password) and client_credentials; all but token have client_id, and mostly client_secret. The first of which the user mapping has all options is taken."`
	Audience     string   `yaml:"audience" doc:"oauth2: audience of an assertion (jwt_bearer); default token_url."`
	Scopes       []string `yaml:"scopes" doc:"client_credentials, oauth2: scopes to ask for, where the server option scopes does not say."`
	// What a person may grant, and need not.
	OptionalScopes *OptionalScopes `yaml:"optional_scopes" doc:"oauth2: scopes that hallway auth asks for beside those, and that may be refused."`
	InBody         bool            `yaml:"in_body" doc:"client_credentials, oauth2: send id and secret in the body, not by basic authentication."`
	// Login.
	Path  string `yaml:"path" check:"form=path" doc:"login: path of the login endpoint, called by POST; {option} is replaced by the server option of that name."`
	Body  []Pair `yaml:"body" doc:"login: its body's fields. {user} and {password} stand for the user mapping's options."`
	Form  bool   `yaml:"form" doc:"login: send the body as a form, not as JSON."`
	Token string `yaml:"token" doc:"login: where the answer has the token, a dotted path."`
	Check *Check `yaml:"check" doc:"A request that fails with 401 when the credential is not good (any more). For an API that takes such a caller for a guest and shows nothing: without it, nothing found is believed. With it, nothing found is asked again once the credential was checked, at most once a minute."`
}

// OptionalScopes are scopes that a person, or an account, need not grant.
type OptionalScopes struct {
	Param  string   `yaml:"param" check:"required" doc:"Parameter of authorize_url that has them, separated by blanks."`
	Scopes []string `yaml:"scopes" doc:"Which, where the server option optional_scopes does not say."`
}

// Check is a request that needs a good credential.
type Check struct {
	Method string `yaml:"method" check:"enum=GET|POST" doc:"Default GET."`
	Path   string `yaml:"path" check:"required,form=path" doc:"Path after base_url; {option} is replaced by the server option of that name."`
}

// Way is a further way to read records. What it does not say is as at the top.
type Way struct {
	Name  string  `yaml:"-"`
	Path  string  `yaml:"path" check:"form=template" doc:"{path} is the object's path; {filter} the filter, if it stands in the path. Default {path}."`
	Cost  float64 `yaml:"cost" check:"min=0" doc:"What a request of it costs against one of the first way; default 1."`
	Needs string  `yaml:"needs" check:"enum=nothing|filter" doc:"filter: taken only where it can filter. nothing (default): also to read all records."`
	// An API has reasons of its own.
	Refused []string `yaml:"refused" doc:"Codes with which the API refuses a filter (errors.code), for a reason that the manifest does not know. If it is the scan's first request, all records are then read by the first way, and what this one was trusted to check is checked by Hallway."`
	Read    *Read    `yaml:"read" doc:"As at the top."`
	Paging  *Paging  `yaml:"paging" doc:"As at the top."`
	Filter  *Filter  `yaml:"filter" doc:"As at the top."`
	Sort    *Sort    `yaml:"sort" doc:"As at the top; with no param it cannot sort."`

	Aggregate *Aggregate `yaml:"aggregate" doc:"As at the top, whose it does not take over."`
}

// Aggregate is how the API makes groups of records.
type Aggregate struct {
	Total bool `yaml:"total" doc:"read.total is exactly the number of records that the filter finds: count(*) is had by a list request for one record. Nothing else is aggregated."`

	Rows  string `yaml:"rows" doc:"In a statement: how records are counted, COUNT(Id)."`
	Count string `yaml:"count" doc:"How the values of a field are counted, {field} for its name: COUNT({field}). Of fields for which not_null is exact."`
	Sum   string `yaml:"sum" doc:"SUM({field}); sums must be exact as long as a double is (2^53)."`
	Min   string `yaml:"min" doc:"MIN({field})"`
	Max   string `yaml:"max" doc:"MAX({field})"`
	As    string `yaml:"as" doc:"A column of the statement, {value} under a {name} by which each answered group is to have it; default {value} {name}."`
	Group string `yaml:"group" doc:"Put behind the filter where there are keys, {fields}: GROUP BY {fields}."`

	KeyTypes   []string `yaml:"key_types" doc:"Types of fields by which the API groups as SQL does: values are in one group only if they are equal to the last letter, and records without a value are a group of their own. Of numbers only where the column's type is an integer's, or numeric."`
	SumTypes   []string `yaml:"sum_types" doc:"Types of fields whose sums are exact."`
	OrderTypes []string `yaml:"order_types" doc:"Types of fields of which the API gives the least and the greatest value."`

	MaxGroups int      `yaml:"max_groups" check:"min=0,max=1000000" doc:"The most groups that one answer has. Where there are as many, or the answer has another page, the records are read."`
	TooMany   []string `yaml:"too_many" doc:"Codes of errors that say that there are more groups than one answer has; then the records are read."`
}

// Limits are how fast the API may be called.
type Limits struct {
	PerSecond       float64 `yaml:"per_second" check:"min=0" doc:"Calls a second on average; 0: not limited here. The answers 429 and Retry-After are always obeyed."`
	Burst           int     `yaml:"burst" check:"min=0" doc:"Calls at once; default 1."`
	Shared          string  `yaml:"shared" check:"enum=credential|server" doc:"Whose the limits are. credential (default): each user mapping of a server has them for itself. server: all user mappings have them together, since the API counts the calls to an account. The server option limits_shared overrides it."`
	RemainingHeader string  `yaml:"remaining_header" doc:"Header that says how many calls are left."`
	ResetHeader     string  `yaml:"reset_header" doc:"Header that says when there are more: seconds, a time since 1970, or an HTTP date."`
	IntervalHeader  string  `yaml:"interval_header" doc:"Header with the window's length in milliseconds."`
	Waits           []Pair  `yaml:"waits" doc:"For how many seconds to wait, by the API's code of an answer 400 to 499 that does not say (errors.code); then the call is made again. An answer other than 429 must mean that nothing was done."`
	Budget          []Pair  `yaml:"budget" doc:"Headers that say how many calls there are for a day, or another long time, each with its form, in which {used}, {remaining} and {max} are numbers: \"api-usage={used}/{max}\". Parts between commas are looked at by themselves. There must be {remaining}, or {used} and {max}. The server option api_reserve keeps some of them."`
	LockoutSeconds  float64 `yaml:"lockout_seconds" check:"min=0,max=3600" doc:"For how long the API refuses all calls once it has answered 429, where its answer does not say. The server option lockout_seconds overrides it."`
	TimeoutSeconds  int     `yaml:"timeout_seconds" check:"min=0,max=3600" doc:"How long to wait for an answer to begin; default 30."`

	Parallel int `yaml:"parallel" check:"min=0,max=32" doc:"Requests of one scan under way at once, where it takes several that do not wait for each other; default 1. The server option parallel overrides it."`

	Classes []LimitClass `yaml:"classes" doc:"Further limits, by name, for requests whose class says so; they count for the limit above too."`
}

// LimitClass is the limit of some requests.
type LimitClass struct {
	Name      string  `yaml:"-"`
	PerSecond float64 `yaml:"per_second" check:"required,min=0" doc:"Calls a second on average."`
	Burst     int     `yaml:"burst" check:"min=0" doc:"Calls at once; default 1."`
}

// Read is how a list is asked for.
type Read struct {
	Method     string     `yaml:"method" check:"enum=GET|POST" doc:"Default GET."`
	Path       string     `yaml:"path" check:"form=template" doc:"Where lists are asked for, {path} for the object's path; default {path}."`
	In         string     `yaml:"in" check:"enum=query|body" doc:"query (default): parameters stand in the URL. body: they are members of a JSON object, named by dotted paths."`
	Class      string     `yaml:"class" doc:"Name under limits.classes."`
	Statement  *Statement `yaml:"statement" doc:"One parameter holds fields, filter, sort and limit as a statement."`
	One        bool       `yaml:"one" doc:"The answer is one record, at items, and the status 404 says that there is none."`
	Items      string     `yaml:"items" doc:"Where the answer has its array of records, a dotted path; empty: the answer is the array."`
	Total      string     `yaml:"total" doc:"Where the answer has the number of all records, a dotted path."`
	Query      []Pair     `yaml:"query" doc:"Query parameters of every list request."`
	TotalQuery []Pair     `yaml:"total_query" doc:"Query parameters that replace those of query in the first request where the total is wanted: for ANALYZE, and the progress of a replica's copy."`
	PageSize   PageSize   `yaml:"page_size" doc:"How many records a page has."`
	LagSeconds *float64   `yaml:"lag_seconds" check:"min=0,max=3600" doc:"For how long lists may not show what was written, in seconds; 0: they show it at once. By default that is not known, and 10 seconds are reckoned with."`
	Fields     *Fields    `yaml:"fields" doc:"How the API is told which fields are wanted; without it all come."`
	Expand     *Expand    `yaml:"expand" doc:"How the API is told to put records in place of their keys: for fields whose path leads through a relation (fields.*.expand)."`
	None       []string   `yaml:"none" doc:"Codes of errors to the first request that say that no record can match: a filter by the key of a record that is not there."`
	Job        *Job       `yaml:"job" doc:"Of a way: the request makes a job, whose results are asked for when it is done."`
	Gone       string     `yaml:"gone" doc:"Where a record says that it is deleted, a dotted path to true; it is left out."`
}

// Job is a list request that the API works on for a while. Its results are CSV.
type Job struct {
	ID          string   `yaml:"id" check:"required" doc:"Where the answer has the job's id, a dotted path."`
	Path        string   `yaml:"path" check:"required,form=path" doc:"Where the job is, {id} for its id."`
	State       string   `yaml:"state" check:"required" doc:"Where the answers to the request and of path have its state, a dotted path."`
	Done        []string `yaml:"done" check:"required" doc:"The states in which its results are there."`
	Failed      []string `yaml:"failed" doc:"The states in which there will be none."`
	Message     string   `yaml:"message" doc:"Where path then says why, a dotted path. A code of errors.codes may stand before a colon in it."`
	PollSeconds float64  `yaml:"poll_seconds" check:"min=0,max=60" doc:"After how long it is looked at first; then whenever it has taken twice as long, at least every 15 seconds. Default 1."`
	Results     string   `yaml:"results" check:"required,form=path" doc:"Where its results are, {id} for its id: CSV in UTF-8 with names of fields in its first line, dotted paths, and with quotes around texts that have line breaks. An empty value is NULL. The way's paging and page_size are theirs."`
	Abort       []Pair   `yaml:"abort" doc:"The body of a PATCH of path that ends a job whose scan is over before it is done; true, false and numbers are written as such."`
	Delete      bool     `yaml:"delete" doc:"A job is taken away by DELETE of path when its scan is over."`
	MinRows     float64  `yaml:"min_rows" check:"min=0" doc:"How many rows must be expected, at least, for the way to be taken; never under a LIMIT, for a lookup by key, or for what was changed of late. The options bulk and bulk_min_rows override it."`
}

// Expand is a parameter that has records put in place of their keys.
type Expand struct {
	Param  string `yaml:"param" check:"required" doc:"Parameter; it stands there once for each field."`
	Prefix string `yaml:"prefix" doc:"Put before each field; not where one record is read after a write."`
}

// Statement is a query in one text.
type Statement struct {
	Param string `yaml:"param" check:"required" doc:"Parameter that holds it."`
	Text  string `yaml:"text" check:"required" doc:"Its begin: {fields} are the wanted ones, {object} and {path} those of the object: SELECT {fields} FROM {object}."`
	Where string `yaml:"where" doc:"Put behind it where there is a filter, {filter}."`
	Order string `yaml:"order" doc:"Then where rows are sorted, {sort}."`
	Limit string `yaml:"limit" doc:"Then where no more than {limit} rows are wanted."`
}

// PageSize is how many records a page has.
type PageSize struct {
	Param   string `yaml:"param" doc:"Query parameter that carries it; empty: the API decides."`
	Max     int    `yaml:"max" check:"min=0,max=100000" doc:"The most the API returns at once; asking for more than that would look like the end."`
	Default int    `yaml:"default" check:"min=0,max=100000" doc:"What is asked for; default: max. The server option page_size overrides it."`
	Echo    string `yaml:"echo" doc:"Where the answer says how many the page could have, a dotted path: then an API that gives less than asked for is noticed."`
}

// Fields is a projection parameter.
type Fields struct {
	Param     string `yaml:"param" doc:"Parameter that names the wanted fields; in a body it is a list. Not needed where a statement names them."`
	Separator string `yaml:"separator" doc:"Between names; default a comma."`
	Repeat    bool   `yaml:"repeat" doc:"In a query the parameter stands there once for each name."`
	Prefix    string `yaml:"prefix" doc:"Only fields whose path begins with this are named, and without it: \"properties.\"."`
}

// Paging is how the next page is asked for.
type Paging struct {
	Style    string  `yaml:"style" check:"enum=none|page|offset|cursor|link|seek|range" doc:"none: one answer has all. page: a page number. offset: a number of records to pass over. cursor: a token that the answer gives. link: the Link header, rel=next (or the URL at cursor). seek: a filter for keys after the last one, with a sort by key; it alone never loses or repeats a row when rows are deleted or created meanwhile. range (under ordered only): sorted by one field, of type datetime, date or integer with exact comparisons; pages are asked for by its last value, and records without a value apart, so that no page is deep in the results and it does not matter where the API puts those."`
	Param    string  `yaml:"param" doc:"Query parameter of the page number, offset or cursor."`
	Start    int     `yaml:"start" check:"min=0,max=1" doc:"page: number of the first page, 0 or 1. Default 0."`
	Header   string  `yaml:"header" doc:"cursor: the header of the answer that has the next cursor, in place of cursor below; null is the end, too."`
	Cursor   string  `yaml:"cursor" doc:"cursor, link: where the answer has the next cursor or URL, a dotted path; {key} stands for the last record's key. Missing, null or empty: the end. seek: only that is read of it."`
	More     string  `yaml:"more" doc:"Where the answer says whether there are more, a dotted path to a boolean; without it a page shorter than asked for is the last (cursor, link: one without a cursor)."`
	Ordered  *Paging `yaml:"ordered" doc:"seek: the paging for sorted requests, which seek cannot do: range, or page, offset or cursor."`
	MaxPages int     `yaml:"max_pages" check:"min=0" doc:"Pages after which a scan gives up with an error; default 1000000."`
	// An API forgets its cursors.
	Restart []string `yaml:"restart" doc:"Codes of errors that say that a cursor is not good any more. The scan then begins anew and leaves out the records that it has had; objects need a key."`
}

// Partition is a time by which lists are sorted, so that they can be split.
type Partition struct {
	Field string `yaml:"field" check:"required" doc:"A datetime field of format unix in which lists of objects that have it are sorted, the newest first; it always has a value, which never changes, and is filtered by ge and lt (style params). A scan that takes many pages then reads several ranges of it at once (limits.parallel), and without sort the order of the list serves ORDER BY that field DESC under a LIMIT."`
}

// Filter is the grammar of filters.
type Filter struct {
	Style    string   `yaml:"style" check:"enum=expression|params|groups" doc:"expression: one parameter holds the whole filter. params: each condition is a parameter of its own, all ANDed. groups: the filter is a list of groups of which one must match, each a list of conditions that must all hold; what does not fit into one request is asked for by several."`
	Param    string   `yaml:"param" doc:"expression, groups: the parameter; empty: the filter stands in a path or statement."`
	JSON     bool     `yaml:"json" doc:"The filter is JSON, put into the body as it is; of style groups it is the list of groups."`
	Listed   bool     `yaml:"listed" doc:"Only fields that name an entry of types (fields.*.filters) are filtered."`
	Only     []string `yaml:"only" doc:"The fields that can be filtered, {key} for the object's key; default all."`
	Enforced bool     `yaml:"enforced" doc:"The API is known to refuse a filter that it does not understand or to obey it, never to ignore it. Without this nothing is exact: every row is checked again."`
	And      string   `yaml:"and" doc:"expression: between conditions that must all hold, such as \" && \". Empty: one condition only."`
	Or       string   `yaml:"or" doc:"expression: between conditions of which one must hold. Empty: OR is not pushed."`
	Group    string   `yaml:"group" doc:"expression: brackets around a nested AND or OR, {} for the inside; default ({}). groups: around a group."`
	AndGroup string   `yaml:"and_group" doc:"expression: in place of group around an AND, also at the top, for languages that write AND(a, b)."`
	OrGroup  string   `yaml:"or_group" doc:"expression: the same for OR."`
	// Bounds.
	MaxLength int `yaml:"max_length" check:"min=0" doc:"Longest filter in bytes, before URL encoding; 0: 4000."`
	MaxTerms  int `yaml:"max_terms" check:"min=0" doc:"Most conditions in a filter; 0: 100."`
	MaxDepth  int `yaml:"max_depth" check:"min=0" doc:"Deepest nesting of brackets; 0: 16."`
	MaxList   int `yaml:"max_list" check:"min=0" doc:"Most values in a native list (operator in); 0: max_terms."`
	// Of groups.
	MaxGroups   int `yaml:"max_groups" check:"min=0" doc:"groups: most groups in a request; 0: 1."`
	MaxInGroup  int `yaml:"max_in_group" check:"min=0" doc:"groups: most conditions in a group; 0: max_terms."`
	MaxRequests int `yaml:"max_requests" check:"min=0" doc:"groups: most requests that one scan is split into; 0: 1. Records that several of them find are noticed by their key."`

	Literals  Literals      `yaml:"literals" doc:"How values are written."`
	Like      *LikeRules    `yaml:"like" doc:"How the API's pattern operator works; needed for like and not_like."`
	TextOrder string        `yaml:"text_order" check:"enum=unknown|bytes" doc:"bytes: lt, le, gt and ge compare text byte by byte in UTF-8, as COLLATE \"C\" does; only then are they pushed for text."`
	TextCase  string        `yaml:"text_case" check:"enum=sensitive|insensitive" doc:"insensitive: contains, starts_with and ends_with ignore case for all of Unicode, so ILIKE can be pushed. sensitive (default): only LIKE."`
	Types     []TypeFilters `yaml:"types" doc:"Operators by type of field."`
}

// Literals is how values are written in filters.
type Literals struct {
	Quote        string   `yaml:"quote" doc:"Around text (and dates); empty: none."`
	Escapes      []Pair   `yaml:"escapes" doc:"Characters of a text that are written otherwise, each with what is written: \"'\": \"\\\\'\"."`
	Refuse       []string `yaml:"refuse" doc:"Texts that no literal can contain; a condition with one is not pushed."`
	RefuseSuffix []string `yaml:"refuse_suffix" doc:"Texts that no literal can end with."`
	True         string   `yaml:"true" doc:"Default true."`
	False        string   `yaml:"false" doc:"Default false."`
	Datetime     string   `yaml:"datetime" doc:"Layout of a point in time, as Go writes it: \"2006-01-02 15:04:05.000Z\". A finer value is rounded so that the answer stays right. unix and unix_ms: a number."`
	Date         string   `yaml:"date" doc:"Layout of a date; default \"2006-01-02\". unix_ms: a number, that of its first moment in UTC."`
	MaxLength    int      `yaml:"max_length" check:"min=0" doc:"Most characters of a text; 0: any number. A condition with a longer one is not pushed."`
	BareTimes    bool     `yaml:"bare_times" doc:"Dates and points in time stand without quotes."`
}

// LikeRules is how a pattern operator works.
type LikeRules struct {
	Any    string `yaml:"any" check:"required" doc:"Matches any text, such as %."`
	One    string `yaml:"one" doc:"Matches one character, such as _; empty: the API has none, any is used."`
	Escape string `yaml:"escape" doc:"Takes the meaning of the next character; empty: any stands for any and one where they are text, and the API returns more."`
	// Of a language whose escapes are in doubt.
	Special []string `yaml:"special" doc:"Further characters that mean something in a pattern: escaped, or any stands for them."`
	Case    string   `yaml:"case" check:"enum=sensitive|ascii|insensitive" doc:"Whether case matters: sensitive (default); ascii: a-z equal A-Z; insensitive: for all of Unicode."`
	NeedAny bool     `yaml:"need_any" doc:"Without an unescaped any the API reads the pattern as plain text to be contained."`
}

// TypeFilters are the operators for one type of field.
type TypeFilters struct {
	Type           string   `yaml:"-"`
	For            string   `yaml:"for" doc:"The type of fields that this is for, if it has a name of its own: it then holds for the fields that name it under filters."`
	Operators      []Pair   `yaml:"operators" check:"required" doc:"Template by operator: eq, ne, lt, le, gt, ge, in, not_in, like, not_like, contains, starts_with, ends_with, is_null, not_null; and has, the only one for fields that are lists: one of its values is {value}. {field} is the field, {value} the literal, {values} a list of them. Name an operator only if the API returns at least the rows that SQL would: an eq that ignores case is fine, its ne is not."`
	Exact          []string `yaml:"exact" doc:"Operators that return just SQL's rows, also for case, accents and precision. They need filter.enforced."`
	MissingMatches []string `yaml:"missing_matches" doc:"Operators that also return records without a value, which SQL does not; not_null is added to them."`
	Separator      string   `yaml:"separator" doc:"Between the values of in; default a comma. Of style params, where the parameter's name ends with [], it stands there once for each value."`
	InLower        bool     `yaml:"in_lower" doc:"in, not_in: the API compares the values of a list, as they are written, with texts in lower case, or may do so. The list then has each value both as it is and in lower case, and only values in ASCII go into lists."`
	MaxList        int      `yaml:"max_list" check:"min=0" doc:"As filter.max_list, where that is more."`
	KnownValues    bool     `yaml:"known_values" doc:"Only the values that the field names are sent: the API refuses others."`
}

// Sort is how rows are sorted.
type Sort struct {
	Param      string   `yaml:"param" doc:"Parameter. Not needed where a statement has the sort."`
	JSON       bool     `yaml:"json" doc:"Keys are JSON; the parameter is put into the body as the list of them."`
	Ascending  string   `yaml:"ascending" doc:"One key, {field} for its name; default {field}."`
	Descending string   `yaml:"descending" doc:"Default -{field}."`
	Separator  string   `yaml:"separator" doc:"Between keys; default a comma."`
	MaxKeys    int      `yaml:"max_keys" check:"min=0" doc:"Most keys, with the record's key that is always added so that pages do not overlap; default 1."`
	Nulls      string   `yaml:"nulls" check:"enum=unknown|first|last|smallest|largest" doc:"Where records without a value stand: always first or last, or as the smallest or the largest value. unknown (default): only fields that always have a value are sorted."`
	TextOrder  string   `yaml:"text_order" check:"enum=unknown|bytes" doc:"bytes: text is sorted byte by byte, as COLLATE \"C\" does; only then is it pushed."`
	Enforced   bool     `yaml:"enforced" doc:"The API is known to sort as told, or to refuse. Without this PostgreSQL sorts."`
	Types      []string `yaml:"types" doc:"Types of fields that can be sorted; default all but json."`
}

// Write is one request that writes, or reads, one record.
type Write struct {
	Off               bool   `yaml:"off" doc:"This object cannot do it, although the API can."`
	Method            string `yaml:"method" check:"enum=GET|POST|PUT|PATCH|DELETE" doc:"HTTP method."`
	Path              string `yaml:"path" check:"form=template" doc:"{path} is the object's path, {key} the record's key; of an upsert {match} is the field by which the record is found, and {value} its value. Default {path} to create, {path}/{value} to upsert and {path}/{key} else."`
	Class             string `yaml:"class" doc:"Name under limits.classes."`
	Body              string `yaml:"body" check:"enum=json|form" doc:"json (default) or form (a[b]=c)."`
	Wrap              string `yaml:"wrap" doc:"Put the fields inside this member of the body."`
	Item              string `yaml:"item" doc:"Where the answer has the record, a dotted path; empty: the answer is the record."`
	Answer            string `yaml:"answer" check:"enum=record|none" doc:"record (default): the answer has the record as it is now. none: it must be read by get."`
	AnswerKey         string `yaml:"answer_key" doc:"create, upsert with answer none: where the answer has the record's key, a dotted path."`
	ByList            bool   `yaml:"by_list" doc:"get: records are read by list requests that filter by key, many at a time, with the wanted fields alone."`
	Nulls             string `yaml:"nulls" check:"enum=send|omit" doc:"create: send (default) or omit NULL, and with it empty lists and objects, and the empty texts that are NULL."`
	Complete          bool   `yaml:"complete" doc:"create, upsert: the answer has all fields of a new record that have a value, so one that is not there has none. Without this the record is read for them."`
	IdempotencyHeader string `yaml:"idempotency_header" doc:"Header for a key under which the API does the same write only once."`
	// What the API makes of a key that it has seen.
	IdempotencyReplays bool `yaml:"idempotency_replays" doc:"The API answers a key that it has seen as it did first. A write whose answer was lost is then sent again to learn it."`
	// Upsert.
	Match     []string `yaml:"match" doc:"upsert: fields by each of which the API finds a record; default: the object's unique ones, and its key if that can be written."`
	OmitMatch bool     `yaml:"omit_match" doc:"upsert: the body of the request for one row has not the field by which it is found."`
	Created   string   `yaml:"created" doc:"upsert: where the answer (of a batch: the entry of the row) says that the record is new, a dotted path to true. The status 201 says so too."`

	CreatedKeys string  `yaml:"created_keys" doc:"upsert: where the answer to a batch lists the keys of the records that are new, a dotted path. Its answers hold the records."`
	Fields      *Fields `yaml:"fields" doc:"get: how the API is told which fields are wanted, in the query; without it all come."`

	Parallel int `yaml:"parallel" check:"min=0,max=16" doc:"create, update, delete, upsert: requests of one statement under way at once, where each is for one row; default 1: in order, and none after a refused row."`

	Batch *WriteBatch `yaml:"batch" doc:"create, update, delete, upsert: how one request writes many records; without it each is a request."`
}

// WriteBatch is one request that writes many records.
type WriteBatch struct {
	Method   string `yaml:"method" check:"enum=GET|POST|PUT|PATCH|DELETE" doc:"HTTP method; default POST."`
	Path     string `yaml:"path" check:"required,form=template" doc:"Where it is sent; {path} is the object's path."`
	Max      int    `yaml:"max" check:"required,min=2,max=10000" doc:"The most rows that a request may have."`
	MaxBytes int    `yaml:"max_bytes" check:"min=0" doc:"The most bytes that its rows may have; default 1000000, or 4000 with param. A row that is longer goes alone, as without batch."`
	Atomic   bool   `yaml:"atomic" doc:"The API writes all rows of a request, or none of them."`
	Alone    bool   `yaml:"alone" doc:"The API has no request for one row: that is a batch, too."`
	Parallel int    `yaml:"parallel" check:"min=0,max=16" doc:"Requests of one statement under way at once; default 1: in order, and none after one with a refused row."`
	// The request.
	List      string `yaml:"list" doc:"Where the body has the list of the rows, a dotted path; empty: the body is the list."`
	Entry     []Pair `yaml:"entry" doc:"What stands in the list for a row, by dotted path. {method}, {url} and {body} are those of the request for the row alone ({url} without base_url), {key} is its key (of an upsert there are {match} and {value} instead), {row} its position in the list, from 0. true, false and numbers are written as such. Where no value is {body}, these are put into the row's body. Without entry the list has the bodies; that of a delete the keys."`
	Extra     []Pair `yaml:"extra" doc:"What else the body has (with param: the query), by dotted path; true, false, numbers, lists and objects are written as such. {match} in it is the field by which an upsert finds records."`
	Param     string `yaml:"param" doc:"delete: query parameter that carries the keys, in place of a body."`
	Separator string `yaml:"separator" doc:"param: between keys; empty: the parameter stands there once for each."`
	// The answer.
	Answers *BatchEntries `yaml:"answers" doc:"Where the answer has the rows' own answers; without it a success is that of all rows, and shows none of them."`
	Errors  *BatchEntries `yaml:"errors" doc:"Where an answer, of success or not, has errors of rows apart from their answers."`
	As      string        `yaml:"as" doc:"What an answer calls a row, where it does not go by position: a text with {row}, {key} or {value}, as in entry; default {row}."`
	Others  []string      `yaml:"others" doc:"atomic: codes that rows get which were refused only because another was."`
}

// LoadJob is a job that writes many records, which go to it as CSV in UTF-8: names of
// fields in the first line, and quotes around each value.
type LoadJob struct {
	Operations []Pair `yaml:"operations" check:"required" doc:"What {operation} of body is, for those of create, update, delete and upsert that go by jobs."`
	// The job.
	Path        string   `yaml:"path" check:"required,form=path" doc:"Where a job is made by POST."`
	Body        []Pair   `yaml:"body" doc:"The body of that request, by dotted path: {object} is the object's name in the API. true, false and numbers are written as such."`
	Upsert      []Pair   `yaml:"upsert" doc:"What stands there beside it for an upsert; {match} is the field by which records are found."`
	ID          string   `yaml:"id" check:"required" doc:"Where the answer has the job's id, a dotted path."`
	Job         string   `yaml:"job" check:"required,form=path" doc:"Where the job is, {id} for its id."`
	State       string   `yaml:"state" check:"required" doc:"Where the answers to the request and of job have its state, a dotted path. It must be another as soon as the job has been started."`
	Done        []string `yaml:"done" check:"required" doc:"The states in which it is over, and has come to all rows."`
	Failed      []string `yaml:"failed" check:"required" doc:"The states in which it is over, and has perhaps not: it was given up, or aborted. No row is written any more."`
	Message     string   `yaml:"message" doc:"Where job then says why, a dotted path. A code of errors.codes may stand before a colon in it."`
	PollSeconds float64  `yaml:"poll_seconds" check:"min=0,max=60" doc:"After how long it is looked at first; then whenever it has taken twice as long, at least every 15 seconds. Default 1."`
	Start       []Pair   `yaml:"start" check:"required" doc:"The body of a PATCH of job that has the API begin, once it has the rows; before it no row is written."`
	Abort       []Pair   `yaml:"abort" check:"required" doc:"The body of a PATCH of job that ends it, if its statement has ended or may take no longer; what is written by then stays."`
	// Its rows.
	Upload   string `yaml:"upload" check:"required,form=path" doc:"Where the CSV is PUT, {id} for the job's id."`
	Key      string `yaml:"key" check:"required" doc:"Name of the column that has the key, of an update or delete."`
	Null     string `yaml:"null" doc:"What takes a value away; an empty one leaves the field as it is. Without it rows with NULL go by jobs in an INSERT alone. Rows with a text that is this, or blank, do not."`
	MinRows  int    `yaml:"min_rows" check:"min=0,max=100000" doc:"How many rows there must be at least; default 2. The option bulk_write_rows overrides it."`
	MaxRows  int    `yaml:"max_rows" check:"min=0,max=100000" doc:"The most rows of a job; default 10000. As many are collected before they are sent."`
	MaxBytes int    `yaml:"max_bytes" check:"min=0" doc:"About how many bytes of CSV a job may have; default 8000000."`
	// Its results.
	Applied *LoadResults `yaml:"applied" check:"required" doc:"What tells of the rows that are written."`
	Refused *LoadResults `yaml:"refused" check:"required" doc:"What tells of those that are refused."`
	Left    *LoadResults `yaml:"left" check:"required" doc:"What tells of those that the job has not come to."`
}

// LoadResults is CSV with rows as they were sent, in any order.
type LoadResults struct {
	Path    string `yaml:"path" check:"required,form=path" doc:"Where it is, {id} for the job's id. It has the columns that were sent, in any order, and others."`
	Key     string `yaml:"key" doc:"applied: the column that has the key of the record."`
	Created string `yaml:"created" doc:"applied: the column that is true where an upsert has made a record."`
	Error   string `yaml:"error" doc:"refused: the column that says why: a code of errors.codes may stand before a colon in it."`
}

// BatchEntries is what an answer to a batch says of the rows.
type BatchEntries struct {
	Path   string `yaml:"path" doc:"Dotted path of an array with an entry for each row, or of an object with a member for each, by its name (see as); empty: the answer itself."`
	Match  string `yaml:"match" doc:"Array: where an entry has the name of its row (see as), or a list of such names, a dotted path. Without it the entries of answers are in the order of the rows."`
	Or     string `yaml:"or" doc:"Such a path for entries that have nothing at match."`
	Item   string `yaml:"item" doc:"Where an entry has what a request for the row alone would be answered: a record, or an error as under errors at the top. A dotted path; empty: it is the entry."`
	Status string `yaml:"status" doc:"Where an entry has the row's own HTTP status, a dotted path; below 200 and above 299 it is refused."`
	Error  string `yaml:"error" doc:"answers: where an entry has the row's error, a dotted path; a row is refused if there is one, and null, false, an empty text, list or object is none. Errors at the top then describes what stands there."`
}

// Errors is what refusals look like.
type Errors struct {
	Message   []string     `yaml:"message" doc:"Where the message may be, dotted paths, tried in turn."`
	Code      []string     `yaml:"code" doc:"Where a code for the table codes may be, dotted paths."`
	Fields    *ErrorFields `yaml:"fields" doc:"Where the errors of single fields are."`
	Codes     []Pair       `yaml:"codes" doc:"Class of error by the API's code: check, not_null, unique, foreign_key, too_long, unauthenticated, permission_denied, not_found, conflict, locked, rate_limited, unavailable, not_supported. A code that ends with * is a prefix."`
	RequestID string       `yaml:"request_id_header" doc:"Header with the API's own id of the request; shown in DETAIL."`
}

// ErrorFields is where the errors of single fields are.
type ErrorFields struct {
	Path    string `yaml:"path" check:"required" doc:"Dotted path of an object with a member for each field, or of an array with an element for each error."`
	Field   string `yaml:"field" doc:"Array: where an element names its field, a dotted path."`
	Message string `yaml:"message" doc:"Where it has the message, a dotted path; empty: it is the message, or a list of them."`
	Code    string `yaml:"code" doc:"Where it has the code."`
}

// Object is a collection of records.
type Object struct {
	Name        string   `yaml:"-"`
	Line        int      `yaml:"-"`
	Path        string   `yaml:"path" check:"required,form=path" doc:"Path of the list after base_url."`
	Key         string   `yaml:"key" check:"form=name" doc:"The field that identifies a record; without it records cannot be changed or deleted."`
	Description string   `yaml:"description" doc:"Becomes the table's comment on IMPORT FOREIGN SCHEMA."`
	Rows        float64  `yaml:"rows" check:"min=0" doc:"About how many records there are; for the planner."`
	Items       *string  `yaml:"items" doc:"As read.items, for this object."`
	Query       []Pair   `yaml:"query" doc:"Further query parameters of its list requests."`
	Each        *Each    `yaml:"each" doc:"A query parameter that a list request must have, if no filter is it: all values are asked for, one after the other."`
	Ways        []string `yaml:"ways" doc:"Those of the ways at the top that it has; default all."`
	Modified    string   `yaml:"modified" doc:"The datetime field that the API sets to its own time whenever a record changes; a replica asks for what was changed since last time."`
	Deleted     *Deleted `yaml:"deleted" doc:"Where the API tells which records were deleted; without it a replica compares keys."`
	Changes     *Changes `yaml:"changes" doc:"Where the API tells which records were made, changed or deleted, if the records do not say when they were changed; a replica reads those, and everything once a day. In place of modified and deleted."`
	Unique      []string `yaml:"unique" doc:"Fields whose values are unique. One that the API filters by (eq) is found fast; by one that it does not, at most 100,000 rows are read, to find out what became of a write whose answer was lost."`
	Lookups     []string `yaml:"lookups" doc:"Fields which the API finds fast; an equality on one costs one call."`
	Create      *Write   `yaml:"create" doc:"As at the top, for this object."`
	Update      *Write   `yaml:"update" doc:"As at the top, for this object."`
	Delete      *Write   `yaml:"delete" doc:"As at the top, for this object."`
	Upsert      *Write   `yaml:"upsert" doc:"As at the top, for this object."`
	Fields      []Field  `yaml:"fields" check:"required" doc:"The fields of a record, by name, in the order of the imported columns."`

	// APIName is {object} in statements; empty: Name.
	APIName string `yaml:"-"`
	// Where is a condition that all its records meet, put before the filter of a
	// statement; empty: none.
	Where string `yaml:"-"`
	// Own is what a vendor's hooks want to know of the object; nobody else looks.
	Own any `yaml:"-"`
	// only which records a list request finds; nil: all.
	only *Only
}

// Each is a query parameter with all the values that there are.
type Each struct {
	Param  string   `yaml:"param" check:"required" doc:"Its name."`
	Values []string `yaml:"values" check:"required" doc:"Its values; no record is found by two of them."`
}

// Deleted is where the API tells which records were deleted.
type Deleted struct {
	Object string  `yaml:"object" check:"required" doc:"The object of this manifest that lists deleted records: a collection of its own, or the same path with other query parameters."`
	Key    string  `yaml:"key" check:"required" doc:"Its field with the key that the record had."`
	At     string  `yaml:"at" check:"required" doc:"Its datetime field with the API's own time of the deletion. It must be filtered by (operator ge)."`
	Days   float64 `yaml:"days" check:"min=0" doc:"For how many days it tells; 0: for ever. A replica that was not refreshed for so long compares keys."`
}

// Changes is where the API tells which records were made, changed or deleted.
type Changes struct {
	Logs []ChangeLog `yaml:"logs" check:"required" doc:"Lists of what happened, the newest first. Of each change one at least must tell; what none tells is seen when everything is read."`
	Days float64     `yaml:"days" check:"min=0" doc:"For how many days they tell; 0: for ever. A replica that was not refreshed for so long reads everything."`
	Made string      `yaml:"made" doc:"The datetime field that the API sets to its own time when a record is made. If it is filtered by (operator ge), new records are read by the page, and not one by one."`
}

// ChangeLog is a list of what happened.
type ChangeLog struct {
	Object string `yaml:"object" check:"required" doc:"The object of this manifest that is the list."`
	Key    string `yaml:"key" check:"required" doc:"Its field with the key of the record that something happened to; entries without it say nothing."`
	At     string `yaml:"at" check:"required" doc:"Its datetime field with the API's own time of that. It must be filtered by (operator ge)."`
	Only   *Only  `yaml:"only" doc:"Which of its entries; default all."`
}

// Only is a query parameter that a list request has several times.
type Only struct {
	Param  string   `yaml:"param" check:"required" doc:"Its name."`
	Values []string `yaml:"values" check:"required" doc:"Its values; all are sent."`
}

// Field of a record.
type Field struct {
	Name        string   `yaml:"-"`
	Line        int      `yaml:"-"`
	Type        string   `yaml:"type" check:"required,enum=text|integer|number|boolean|datetime|timestamp|date|time|uuid|select|relation|json|bytes" doc:"text; integer (64 bit); number; boolean; datetime (with a time zone); timestamp (without); date; time; uuid; select (one of values); relation (key of another object); json; bytes (base64)."`
	Path        string   `yaml:"path" doc:"Where a record has it, a dotted path, in which \\. is a dot of a name; default its name."`
	Column      string   `yaml:"column" doc:"Name of the imported column; default its name."`
	Send        string   `yaml:"send" doc:"Where a body has it, a dotted path; default its path."`
	WriteOnly   bool     `yaml:"write_only" doc:"No record has it: it is NULL when read."`
	Merges      bool     `yaml:"merges" doc:"json: an update leaves members that are not sent as they are, and null takes one away. The record is read first, so that those that it should not have any more are taken away."`
	Whole       bool     `yaml:"whole" doc:"json: an update forgets members that are not sent. If a field below it is changed, the record is read first, and the others are sent along."`
	Expand      string   `yaml:"expand" doc:"The relation that its path leads through, as read.expand names it."`
	Ways        []string `yaml:"ways" doc:"Those of the ways at the top that can read it; default all."`
	Filters     []Pair   `yaml:"filters" doc:"Entry of filter.types by which it is filtered, by way; list is the one at the top."`
	FilterName  string   `yaml:"filter_name" doc:"Its name in filters and sorts, or an expression of the filter's language; default its path."`
	SortName    string   `yaml:"sort_name" doc:"Its name in sorts; default filter_name."`
	List        bool     `yaml:"list" doc:"An array of such values."`
	Description string   `yaml:"description" doc:"Becomes the column's comment."`
	Required    bool     `yaml:"required" doc:"Must be given on create; becomes NOT NULL."`
	ReadOnly    bool     `yaml:"read_only" doc:"The API sets it and refuses to have it written."`
	Missing     string   `yaml:"missing" check:"enum=null|empty|absent|never" doc:"How the API shows that there is no value. null (default): JSON null, or the member is absent. empty: an empty string, which therefore is NULL. absent: the member is not there, nor are members whose value is empty: an empty text or list is NULL, and a boolean that is not there is false. never: there is always a value (0, false, an empty string); NULL cannot be written."`
	MaxLength   int      `yaml:"max_length" check:"min=0" doc:"In characters; becomes varchar(n)."`
	Values      []string `yaml:"values" doc:"select: the values there are."`
	Object      string   `yaml:"object" doc:"relation: the object whose key this is."`
	Format      string   `yaml:"format" check:"enum=iso|unix|unix_ms|utc" doc:"datetime: iso (default), or a number of seconds or milliseconds since 1970. time: utc, with milliseconds and a Z behind them."`
	Keeps       string   `yaml:"keeps" check:"enum=seconds|milliseconds|microseconds" doc:"datetime, timestamp, time: how finely the API keeps it; what is finer is lost. Default: microseconds, or as the format says."`
	Special     string   `yaml:"special" doc:"Objects stand in place of some values: of a number that is none one that says NaN, Infinity or -Infinity here, a dotted path; all others mean that there is no value."`
	Quoted      bool     `yaml:"quoted" doc:"Numbers and booleans are written as texts, too: \"12.5\", \"true\"."`
	TrimZeros   bool     `yaml:"trim_zeros" doc:"number: the API writes 12.0 where it means 12; zeros at the end of a fraction are taken off."`
	SQLType     string   `yaml:"sql_type" doc:"Type of the imported column, in place of the usual one: numeric(12,2)."`
	Filterable  *bool    `yaml:"filterable" doc:"false: never filtered by the API."`
	Sortable    *bool    `yaml:"sortable" doc:"false: never sorted by the API; of the key: rows are sorted without it, too, where pages do not depend on it."`
	Exact       *bool    `yaml:"exact" doc:"false: filters on it are checked again."`

	Groupable    *bool `yaml:"groupable" doc:"false: records are never grouped by it by the API."`
	Aggregatable *bool `yaml:"aggregatable" doc:"false: its values are never counted or summed by the API, nor the least or greatest one asked for."`

	// Valid tells whether a text can be the value of a record at all; nil: any can.
	// The API is not asked for one that cannot.
	Valid func(string) bool `yaml:"-"`
}
