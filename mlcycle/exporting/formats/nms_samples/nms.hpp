// Greedy non-maximum suppression, as the graph of a model file does it; needs C++11 and no library.
#pragma once
#include <algorithm>
#include <vector>

// Returns the rows of the faces, best first. `boxes` has x1 y1 x2 y2 for each of `count` rows.
inline std::vector<int> nms(const float* boxes, const float* scores, int count, float score_floor, float iou_threshold,
                            int max_faces) {
    std::vector<int> rest, kept;
    for (int row = 0; row < count; ++row)
        if (scores[row] > score_floor) rest.push_back(row);
    std::stable_sort(rest.begin(), rest.end(), [&](int a, int b) { return scores[a] > scores[b]; });
    auto area = [&](int row) {
        const float* box = boxes + 4 * row;
        return (box[2] - box[0]) * (box[3] - box[1]);
    };
    auto overlaps = [&](int a, int b) {
        const float *one = boxes + 4 * a, *other = boxes + 4 * b;
        const float width = std::min(one[2], other[2]) - std::max(one[0], other[0]);
        const float height = std::min(one[3], other[3]) - std::max(one[1], other[1]);
        const float shared = std::max(width, 0.0f) * std::max(height, 0.0f);
        return shared > iou_threshold * (area(a) + area(b) - shared);
    };
    for (int row : rest) {
        if (static_cast<int>(kept.size()) == max_faces) break;
        if (std::none_of(kept.begin(), kept.end(), [&](int better) { return overlaps(better, row); })) kept.push_back(row);
    }
    return kept;
}
