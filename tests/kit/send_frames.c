/* Sends Ethernet frames, as they are, from within a guest: send-frames INTERFACE FRAME-IN-HEX ... */
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/if_ether.h>

int main(int count, char **words)
{
    unsigned char frame[1514];
    struct sockaddr_ll link = {.sll_family = AF_PACKET};
    int wire = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

    if (count < 3 || wire < 0 || !(link.sll_ifindex = if_nametoindex(words[1])))
        return perror("send-frames"), 2;
    for (int which = 2; which < count; which++) {
        size_t length = strlen(words[which]) / 2;
        if (length > sizeof frame)
            return fprintf(stderr, "frame %d is too long\n", which - 1), 2;
        for (size_t at = 0; at < length; at++)
            if (sscanf(words[which] + 2 * at, "%2hhx", &frame[at]) != 1)
                return fprintf(stderr, "frame %d is not in hex\n", which - 1), 2;
        if (sendto(wire, frame, length, 0, (struct sockaddr *)&link, sizeof link) < 0)
            return perror("send-frames"), 1;
    }
    return 0;
}
