/* The floor: what the kernel alone asks for. One process with epoll sends the same ready frame to
   every client by one send() each; it reads nothing of what clients say and builds no share.
   cc -O2 -o floor floor.c && ./floor PORT FRAME_BYTES REDIS_PORT
   Ticks are those of the Redis channel, so that the time in the frame is the time of publishing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
enum { NEW, GREETED, READY };
static char state[MOST];
static int ready[MOST], ready_count;
static char frame[MOST + 4], in[1 << 20];
static int frame_bytes;

static const char HELLO[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Accept: none\r\n\r\n";

static int at_port(int port, int listens) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int failed = listens ? bind(fd, (void *)&to, sizeof to) || listen(fd, 4096)
                         : connect(fd, (void *)&to, sizeof to);
    if (failed) { perror("port"); exit(1); }
    return fd;
}

/* A text frame of frame_bytes that bears this time, the rest of it filling. */
static int build(const char *mark, const char *stamp) {
    frame[0] = (char)0x81; frame[1] = 126;
    frame[2] = (char)(frame_bytes >> 8); frame[3] = (char)frame_bytes;
    memset(frame + 4, 'x', frame_bytes);
    int n = snprintf(frame + 4, frame_bytes,
                     "{\"type\":\"price_update\",%s\"timestamp\":\"%.24s\",\"data\":{},\"filling\":\"",
                     mark, stamp);
    frame[4 + n] = 'x';
    memcpy(frame + 4 + frame_bytes - 2, "\"}", 2);
    return frame_bytes + 4;
}

static void leave(int fd) {
    for (int i = 0; i < ready_count; i++)
        if (ready[i] == fd) { ready[i] = ready[--ready_count]; break; }
    close(fd);
}

static void heard(int fd) {
    ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) leave(fd); return; }
    if (state[fd] == NEW) {
        state[fd] = GREETED;
        send(fd, HELLO, sizeof HELLO - 1, MSG_NOSIGNAL);
    } else if (state[fd] == GREETED) {
        state[fd] = READY;
        ready[ready_count++] = fd;
        int size = build("\"snapshot\":true,", "1970-01-01T00:00:00.000Z");
        send(fd, frame, size, MSG_NOSIGNAL);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    frame_bytes = atoi(argv[2]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int door = at_port(atoi(argv[1]), 1), redis = at_port(atoi(argv[3]), 0);
    static const char SUBSCRIBE[] = "SUBSCRIBE lokifi:price_updates\r\n";
    if (write(redis, SUBSCRIBE, sizeof SUBSCRIBE - 1) < 0) return 1;
    int poll = epoll_create1(0), one = 1;
    struct epoll_event add = {.events = EPOLLIN, .data.fd = door}, events[1024];
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &add);
    add.data.fd = redis;
    epoll_ctl(poll, EPOLL_CTL_ADD, redis, &add);
    for (;;) {
        int count = epoll_wait(poll, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == door) {
                int client = accept4(door, 0, 0, SOCK_NONBLOCK);
                if (client < 0 || client >= MOST) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                state[client] = NEW;
                add.data.fd = client;
                epoll_ctl(poll, EPOLL_CTL_ADD, client, &add);
            } else if (fd == redis) {
                ssize_t n = recv(redis, in, sizeof in - 1, 0);
                if (n <= 0) return 0;
                in[n] = 0;
                /* The time is near a tick's beginning; what follows of it is of no matter. */
                char *found = strstr(in, "\"timestamp\":\"");
                if (!found || !strstr(in, "price_update\",")) continue;
                int size = build("", found + 13);
                for (int j = 0; j < ready_count; j++) send(ready[j], frame, size, MSG_NOSIGNAL);
            } else {
                heard(fd);
            }
        }
    }
}
