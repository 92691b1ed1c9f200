/*-------------------------------------------------------------------------
 *
 * wire.h
 *		What the files of the wire client share, and nobody else includes.
 *
 * http2.c	bytes <-> HTTP/2 streams. Never waits, never throws: its callbacks
 *			run inside libnghttp2, which a longjmp would leave half-done.
 * grpc.c	messages within a stream, headers, and what a failure means.
 *			The part that runs below libnghttp2 does not throw either.
 * channel.c	connecting, waiting: may throw.
 * call.c	unary calls, retrying: may throw.
 * handshake.c	what is said first on a connection.
 * stream.c	one Scan for the executor: may throw.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_WIRE_H
#define HALLWAY_WIRE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "storage/latch.h"

#include "hallway.h"

/* Bytes a peer may send ahead on a stream, and on all of them together. */
#define WIRE_STREAM_WINDOW		(4 * 1024 * 1024)
#define WIRE_SESSION_WINDOW		(16 * 1024 * 1024)

/* The largest message taken; a larger one is an error of the peer. */
#define WIRE_MAX_MESSAGE		(64 * 1024 * 1024)

/* Text of status, message and details kept for one stream. */
#define WIRE_MAX_STATUS_TEXT	(64 * 1024)

/* The message's bytes follow, as many as have arrived of size. */
typedef struct WireMessage
{
	struct WireMessage *next;
	uint32		size;
	uint32		filled;
	uint32		capacity;
	uint8		data[FLEXIBLE_ARRAY_MEMBER];
} WireMessage;

/* Why a stream's bytes cannot be used; found below libnghttp2, thrown later. */
typedef enum WireFault
{
	WIRE_FAULT_NONE,
	WIRE_FAULT_MEMORY,
	WIRE_FAULT_TOO_LARGE,
	WIRE_FAULT_COMPRESSED,
	WIRE_FAULT_TRUNCATED,		/* ended within a message */
	WIRE_FAULT_STATUS_TEXT		/* status headers past their bound */
} WireFault;

/* Assembles gRPC's length-prefixed messages from a stream's bytes. */
typedef struct WireInbox
{
	MemoryContext cxt;
	uint8		prefix[5];
	int			prefix_len;
	WireMessage *partial;		/* being filled, or NULL */
	WireMessage *head;			/* complete ones, oldest first */
	WireMessage *tail;
	WireMessage *spare;			/* one buffer kept for reuse */
} WireInbox;

/* What the headers and trailers of an answer said. */
typedef struct WireStatus
{
	int			http_status;	/* 0: no headers yet */
	int			grpc_status;	/* -1: none */
	char	   *message;		/* percent-encoded; or NULL */
	char	   *details;		/* base64; or NULL */
	size_t		text;			/* bytes kept so far */
} WireStatus;

typedef struct WireSession WireSession;

/* One call. Owned by whoever opened it, until wire_stream_free(). */
typedef struct WireStream
{
	dlist_node	node;
	WireSession *session;
	int32		id;
	bool		detached;		/* nobody waits for the answer */
	bool		closed;			/* no more bytes will come */
	bool		answered;		/* anything at all was received */
	uint32		close_code;		/* HTTP/2 error code it was closed with */
	WireFault	fault;
	uint8	   *body;			/* request, framed */
	size_t		body_len;
	size_t		body_sent;
	bool		body_ended;		/* its last frame was serialized ... */
	uint64		body_end;		/* ... after this many bytes of the session */
	WireInbox	inbox;
	WireStatus	status;
	size_t		uncredited;		/* received, not yet given back to the window */
} WireStream;

struct WireSession
{
	dlist_node	node;			/* channel.c's list */
	MemoryContext cxt;			/* everything of the session lies here */
	int			fd;
	struct nghttp2_session *h2;
	dlist_head	streams;
	int			nstreams;		/* without detached ones */
	bool		broken;			/* no byte will pass any more */
	bool		goaway;			/* takes no new streams */
	char		reason[192];	/* why broken, for DETAIL */
	uint8	   *out;			/* serialized, not yet written */
	size_t		out_start;
	size_t		out_end;
	size_t		out_capacity;
	uint64		serialized;		/* bytes ever put into out */
	uint64		written;		/* bytes ever taken by the socket */
	uint8	   *in;
	bool		dry;			/* the last read took all that was there */
	/* channel.c's */
	WaitEventSet *waitset;
	int			waitset_events; /* what the socket is waited for */
};

/* http2.c */
extern WireSession *wire_session_create(MemoryContext cxt, int fd);
extern void wire_session_free_h2(WireSession *session);
extern bool wire_session_usable(WireSession *session);
extern bool wire_write(WireSession *session);
extern bool wire_read(WireSession *session);
extern bool wire_wants_write(WireSession *session);
extern WireStream *wire_stream_open(WireSession *session, const char *method,
									int64 timeout_ms, uint8 *body, size_t body_len,
									bool detached);
extern void wire_stream_free(WireStream *stream);
extern WireMessage *wire_stream_take(WireStream *stream);
extern void wire_stream_release(WireStream *stream, WireMessage *message);
extern bool wire_stream_unprocessed(const WireStream *stream);
extern bool wire_stream_retryable(const WireStream *stream, bool is_write);
extern void *wire_alloc(MemoryContext cxt, size_t size);

/* grpc.c */
extern uint8 *wire_frame_message(MemoryContext cxt, const ProtobufCMessage *message, size_t *len);
extern WireFault wire_inbox_feed(WireInbox *inbox, const uint8 *data, size_t len);
extern WireMessage *wire_inbox_take(WireInbox *inbox);
extern void wire_inbox_release(WireInbox *inbox, WireMessage *message);
extern void wire_inbox_clear(WireInbox *inbox);
extern void wire_format_timeout(int64 timeout_ms, char *buf, size_t size);
extern bool wire_status_header(WireStatus *status, MemoryContext cxt,
							   const char *name, size_t namelen,
							   const char *value, size_t valuelen);
extern bool wire_stream_succeeded(const WireStream *stream);
extern Hallway__V1__Error *wire_stream_error(const WireStream *stream, bool is_write);
extern Hallway__V1__Error *wire_unknown_outcome(const char *detail);
extern Hallway__V1__Error *wire_error(const char *sqlstate, const char *message,
									  const char *detail, const char *hint);

/* handshake.c */
extern void hallway_handshake_request(Hallway__V1__HandshakeRequest *request);
extern void hallway_handshake_check(const Hallway__V1__HandshakeResponse *response);

/* channel.c, for stream.c */
extern WireSession *hallway_channel_session(HallwayChannel *channel);
extern bool hallway_channel_wait(WireSession *session, TimestampTz deadline);
extern void hallway_channel_release(WireSession *session);

/* call.c, for channel.c and stream.c */
extern bool hallway_call_wait(WireStream *stream, TimestampTz deadline);
extern ProtobufCMessage *hallway_call_answer(WireStream *stream, bool is_write,
											 const ProtobufCMessageDescriptor *answer,
											 Hallway__V1__Error **error);
extern int64 hallway_statement_remaining(void);

#endif							/* HALLWAY_WIRE_H */
