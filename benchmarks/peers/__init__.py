"""What others would do instead: each peer a program of its own, written as its user would write it.

All take the server's URL, a file with the job (for each entry its calls: endpoint and request), and a folder
for the images; their last line of output says when the last image was on disk.
"""
