/* Sockets, netlink and waiting, in words that are the same on every machine. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long value)
{
    printf("%s: %ld%s%s\n", what, value, value < 0 ? " " : "",
           value < 0 ? strerrorname_np(errno) : "");
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return name;
}

static int listener(int *port)
{
    struct sockaddr_in name = loopback(0);
    socklen_t length = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(fd, (struct sockaddr *)&name, sizeof name);
    say("listen", listen(fd, 4));
    getsockname(fd, (struct sockaddr *)&name, &length);
    *port = ntohs(name.sin_port);
    return fd;
}

static void stream(void)
{
    int port, status, server = listener(&port);
    pid_t child = fork();
    if (!child) {
        struct sockaddr_in name = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        char text[64] = "";
        if (connect(fd, (struct sockaddr *)&name, sizeof name))
            _exit(1);
        send(fd, "GET", 3, MSG_NOSIGNAL);
        recv(fd, text, sizeof text, MSG_WAITALL);
        _exit(strcmp(text, "hello world"));
    }
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int fd = accept4(server, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK);
    char host[64], service[64], text[16];
    getnameinfo((struct sockaddr *)&peer, length, host, sizeof host, service, sizeof service,
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf("from %s\n", host);
    struct pollfd one = {fd, POLLIN | POLLOUT | POLLWRBAND, 0};
    while (!(one.revents & POLLIN))
        poll(&one, 1, 1000);
    printf("events%s%s%s\n", one.revents & POLLIN ? " in" : "", one.revents & POLLOUT ? " out" : "",
           one.revents & POLLHUP ? " hup" : "");
    say("received", recv(fd, text, sizeof text, 0));
    say("nothing", recv(fd, text, sizeof text, 0));
    say("sent", send(fd, "hello ", 6, MSG_MORE));
    say("sent", write(fd, "world", 5));
    struct tcp_info info;
    length = sizeof info;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    say("state", info.tcpi_state);
    close(fd);
    waitpid(child, &status, 0);
    say("child", WEXITSTATUS(status));
    close(server);
}

static void options(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), value, names[] = {SO_TYPE, SO_DOMAIN, SO_PROTOCOL,
        SO_ACCEPTCONN, SO_ERROR, SO_KEEPALIVE, SO_REUSEADDR};
    socklen_t length;
    value = 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        length = sizeof value;
        value = -1;
        getsockopt(fd, SOL_SOCKET, names[i], &value, &length);
        if (names[i] == SO_TYPE)
            value = value == SOCK_STREAM;
        printf("option %u = %d\n", i, value);
    }
    length = sizeof value;
    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length);
    printf("nodelay %d\n", value != 0);
    struct timeval limit = {0, 20000}, back;
    say("limit", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    length = sizeof back;
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &back, &length);
    printf("limit %ld %ld %d\n", (long)back.tv_sec, (long)back.tv_usec, length == sizeof back);
    say("bad", setsockopt(fd, SOL_SOCKET, 12345, &value, sizeof value));
    struct sockaddr_in name = loopback(1);
    say("refused", connect(fd, (struct sockaddr *)&name, sizeof name));
    close(fd);
    int pair[2];
    char text[4];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    say("late", recv(pair[0], text, sizeof text, 0));
    struct ucred who;
    length = sizeof who;
    getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &who, &length);
    printf("peer %d %d\n", who.pid == getpid(), who.uid == getuid());
    close(pair[0]);
    close(pair[1]);
}

static void descriptors(void)
{
    int pair[2], pipes[2];
    char byte = 'x', text[8] = "", control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pipe(pipes);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), pipes, sizeof pipes);
    say("sendmsg", sendmsg(pair[0], &message, 0));
    memset(control, 0, sizeof control);
    message.msg_controllen = sizeof control;
    say("recvmsg", recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    header = CMSG_FIRSTHDR(&message);
    int got[2];
    memcpy(got, CMSG_DATA(header), sizeof got);
    printf("rights %d %d, flags %d\n", header->cmsg_type == SCM_RIGHTS,
           (int)header->cmsg_len == (int)CMSG_LEN(sizeof got), message.msg_flags);
    say("cloexec", fcntl(got[0], F_GETFD));
    write(got[1], "through", 7);
    read(pipes[0], text, 7);
    puts(text);
}

static void stamps(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    struct sockaddr_in name = loopback(0);
    socklen_t length = sizeof name;
    bind(fd, (struct sockaddr *)&name, sizeof name);
    getsockname(fd, (struct sockaddr *)&name, &length);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof one);
    sendto(out, "datagram", 8, 0, (struct sockaddr *)&name, sizeof name);
    char text[16], control[512];
    struct sockaddr_in from;
    struct iovec vector = {text, 4};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &vector,
                             .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    say("datagram", recvmsg(fd, &message, MSG_TRUNC));
    printf("truncated %d from %s\n", (message.msg_flags & MSG_TRUNC) != 0,
           inet_ntoa(from.sin_addr));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP) {
            struct timeval stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            printf("stamp %d\n", labs((long)stamp.tv_sec - (long)time(0)) < 1000);
        } else if (c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            printf("arrived at %s %d\n", inet_ntoa(info.ipi_addr),
                   info.ipi_ifindex == (int)if_nametoindex("lo"));
        } else if (c->cmsg_type == IP_TTL) {
            int ttl;
            memcpy(&ttl, CMSG_DATA(c), sizeof ttl);
            printf("ttl %d\n", ttl);
        }
    }
    struct mmsghdr many[3] = {{{0}}};
    char parts[3][8];
    struct iovec vectors[3];
    for (int i = 0; i < 3; i++) {
        sendto(out, "0123456", i + 1, 0, (struct sockaddr *)&name, sizeof name);
        vectors[i].iov_base = parts[i];
        vectors[i].iov_len = 8;
        many[i].msg_hdr.msg_iov = &vectors[i];
        many[i].msg_hdr.msg_iovlen = 1;
    }
    struct timespec limit = {5, 0};
    say("recvmmsg", recvmmsg(fd, many, 3, MSG_WAITFORONE, &limit));
    printf("lengths %u %u %u\n", many[0].msg_len, many[1].msg_len, many[2].msg_len);
    close(fd);
    close(out);
}

static void names(void)
{
    struct ifaddrs *all, *a;
    say("getifaddrs", getifaddrs(&all));
    for (a = all; a; a = a->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET)
            printf("%s %s %x\n", a->ifa_name,
                   inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, text,
                             sizeof text),
                   a->ifa_flags & (IFF_UP | IFF_LOOPBACK));
    }
    freeifaddrs(all);
    struct if_nameindex *list = if_nameindex();
    for (int i = 0; list[i].if_index; i++)
        printf("interface %u %s\n", list[i].if_index, list[i].if_name);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
    say("getaddrinfo", getaddrinfo("::1", "80", &hints, &found));
    printf("family %d\n", found->ai_family == AF_INET6);
}

static void waiting(void)
{
    int pipes[2], ep = epoll_create1(EPOLL_CLOEXEC);
    pipe(pipes);
    fd_set readers, writers;
    FD_ZERO(&readers);
    FD_ZERO(&writers);
    int high = dup2(pipes[1], 200);
    FD_SET(pipes[0], &readers);
    FD_SET(high, &writers);
    struct timeval limit = {3, 0};
    say("select", select(high + 1, &readers, &writers, 0, &limit));
    printf("set %d %d\n", !!FD_ISSET(pipes[0], &readers), !!FD_ISSET(high, &writers));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdefULL}, out[4];
    say("add", epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event));
    say("again", epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event));
    say("none", epoll_wait(ep, out, 4, 1));
    write(pipes[1], "x", 1);
    say("some", epoll_wait(ep, out, 4, -1));
    printf("data %llx events %x\n", (unsigned long long)out[0].data.u64, out[0].events);
    struct timespec time = {0, 1000000};
    struct pollfd one = {pipes[0], POLLIN, 0};
    say("ppoll", ppoll(&one, 1, &time, 0));
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, 40, "pemu-test-%d", getpid());
    int server = socket(AF_UNIX, SOCK_SEQPACKET, 0), client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    socklen_t length = sizeof name;
    say("abstract", bind(server, (struct sockaddr *)&name, sizeof name));
    listen(server, 1);
    say("connect", connect(client, (struct sockaddr *)&name, sizeof name));
    getpeername(client, (struct sockaddr *)&name, &length);
    printf("name %d %d\n", (int)length == (int)sizeof name, name.sun_path[1] == 'p');
}

int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    stream();
    options();
    descriptors();
    stamps();
    names();
    waiting();
    return 0;
}
